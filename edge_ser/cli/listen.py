"""`edge-ser listen`: emotions in a stream of samples, as they are heard."""

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.decision_options import (
    GateOption,
    HoldOption,
    MarginOption,
    NoSmoothingOption,
    SmoothingOption,
    ThresholdOption,
    decision_config,
)
from edge_ser.cli.mqtt_options import (
    CaOption,
    CredentialsOption,
    MqttOption,
    NameOption,
    NoDiscoveryOption,
    QueueOption,
    TlsOption,
    mqtt_config,
)
from edge_ser.cli.options import EngineOption, JsonOption, ModelOption
from edge_ser.cli.output import output_console
from edge_ser.cli.sources import Portion, SampleFormat, open_input, open_microphone
from edge_ser.cli.stopping import stoppable
from edge_ser.cli.views import open_view
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from firmware_host.recognizer import Emotion, EmotionStream


@app.command()
def listen(
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME|NUMBER",
            help="The microphone: a part of its name, or its number. Default: the system's.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        bool, typer.Option("--list-devices", help="List the microphones that there are, and end.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE|-",
            help="No microphone, but an audio file; or '-' for raw mono samples from standard "
            "input.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            metavar="HZ",
            help="Rate of raw samples. Default: 16000.",
            show_default=False,
        ),
    ] = None,
    sample_format: Annotated[
        SampleFormat | None,
        typer.Option(
            "--format",
            help="Format of raw samples; given, a FILE is read as raw too. Default: s16le for '-'.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
    gate: GateOption = None,
    no_smoothing: NoSmoothingOption = False,
    smoothing: SmoothingOption = None,
    margin: MarginOption = None,
    hold: HoldOption = None,
    threshold: ThresholdOption = None,
    name: NameOption = None,
    mqtt: MqttOption = None,
    mqtt_credentials: CredentialsOption = None,
    mqtt_tls: TlsOption = False,
    mqtt_ca: CaOption = None,
    mqtt_queue: QueueOption = None,
    no_discovery: NoDiscoveryOption = False,
) -> None:
    """Listen to a microphone, or to a stream of samples, and print each emotion as it is heard.

    The first comes as soon as one window is full (about 3 s), then one every
    hop (250 ms). Ends with the stream, or with Ctrl-C and exit code 130; a
    service that is stopped (SIGTERM) ends with 0. A microphone that is
    unplugged is waited for, which standard error tells.

    Examples:

    • edge-ser listen

    • edge-ser listen --list-devices

    • edge-ser listen --device usb --json

    • edge-ser listen --mqtt homeassistant.local --mqtt-credentials mqtt.secret

    • edge-ser listen --input interview.wav

    • ffmpeg -i URL -f s16le -ac 1 -ar 16000 - | edge-ser listen --input -

    • edge-ser listen --input mic.f32 --format f32le --rate 48000 --json
    """
    if devices:
        _print_devices(as_json)
        return
    if source is not None and device is not None:
        raise EdgeSerError(
            "--device names a microphone and --input something else to listen to: give one of them"
        )
    if source is None and (rate is not None or sample_format is not None):
        raise EdgeSerError(
            "--rate and --format are for raw samples, but a microphone says both itself: leave "
            "them out, or give --input"
        )
    decisions = decision_config(gate, no_smoothing, smoothing, margin, hold, threshold)
    broker = mqtt_config(name, mqtt, mqtt_credentials, mqtt_tls, mqtt_ca, mqtt_queue, no_discovery)
    with ExitStack() as stack:
        # The outermost: whatever is opened within is closed undisturbed.
        stopping = stack.enter_context(stoppable())
        from firmware_host.events import device_name, new_stream
        from firmware_host.recognizer import EmotionRecognizer
        from firmware_host.systemd import Notifier

        recognizer = EmotionRecognizer(model, engine)
        notifier, stream_name = Notifier(), new_stream()
        view = open_view(as_json, stack, device_name(name), stream_name)
        if source is None:
            opened = open_microphone(device, view.status, stack)
        else:
            opened = open_input(source, rate, sample_format, stack)
        stopping.stop = opened.stop
        stream = recognizer.stream(opened.rate, decisions)
        publish = None
        if broker is not None:  # last of all: only a device that does listen is announced
            from firmware_host.mqtt import MqttPublisher

            publisher = MqttPublisher(
                broker, recognizer.labels, stream=stream_name, on_status=view.status
            )
            publish = stack.enter_context(publisher).publish

        def tell(emotions: "list[Emotion]") -> None:
            for emotion in emotions:
                view.emotion(emotion)
                if publish is not None:
                    publish(emotion)

        notifier.ready()
        for portion in opened.portions:
            view.portion(portion, opened.rate)
            tell(_hear(stream, portion))
            notifier.alive()
        notifier.stopping()
        if stopping.exit_code is None:
            tell(stream.flush())
    if stopping.exit_code is not None:
        raise typer.Exit(stopping.exit_code)


def _hear(stream: "EmotionStream", portion: Portion) -> "list[Emotion]":
    """What a portion completes, and what was lost before it: silence, so that times stay true."""
    emotions = stream.lost(portion.lost_samples) if portion.lost_samples else []
    return emotions + stream.feed_signal(portion.samples, portion.arrived)


def _print_devices(as_json: bool) -> None:
    from firmware_host.microphone import list_devices

    devices = list_devices()
    if as_json:
        for device in devices:
            print(json.dumps(device.to_dict()))
        return
    if not devices:
        print("edge-ser: there is no device here that captures sound", file=sys.stderr)
        return
    from rich.table import Table

    columns = ("", "number", "name", "system", "channels", "rates in Hz")
    table = Table(*columns, box=None, pad_edge=False)
    for device in devices:
        rates = " ".join(f"{rate}" for rate in device.rates) or "in use"
        default = "default" if device.default else ""
        table.add_row(
            *(default, str(device.number), device.name, device.host_api),
            *(str(device.channels), rates),
        )
    output_console().print(table)
