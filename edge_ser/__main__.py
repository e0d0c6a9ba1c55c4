"""`python -m edge_ser` is `edge-ser`."""

from edge_ser.program import main

main()
