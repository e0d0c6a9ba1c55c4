"""A Raspberry-Pi-class Arm Python under emulation, and exact counts of its instructions."""
