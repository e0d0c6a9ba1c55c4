"""The evaluation: what a training is worth under a protocol, from recordings to a table.

`protocols` divides the recordings and says what a division leaks; `units` names one piece of
work, a division and a seed; `run` trains, converts and hears its test recordings; `outcome` is
the file that it leaves, with every probability; `spread` runs many over processors or a
cluster; `summary` makes figures of outcomes, and nothing else does.
"""
