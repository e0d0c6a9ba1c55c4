"""Command line of edge-ser: one module per command; `app.py` holds what they share."""

# Each command module registers itself on the app; none imports a heavy library at its top,
# so that `edge-ser listen` starts on a device with numpy and an interpreter alone.
from edge_ser.cli import bench as bench
from edge_ser.cli import convert as convert
from edge_ser.cli import corpora as corpora
from edge_ser.cli import demo as demo
from edge_ser.cli import doctor as doctor
from edge_ser.cli import evaluate as evaluate
from edge_ser.cli import inspect as inspect
from edge_ser.cli import listen as listen
from edge_ser.cli import recognize as recognize
from edge_ser.cli import service as service
from edge_ser.cli import train as train
from edge_ser.cli.app import app, main

__all__ = ["app", "main"]
