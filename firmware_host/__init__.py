"""The device floor: features, engines and the streaming recogniser; numpy and one interpreter."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware_host.capture import Captured
    from firmware_host.contract import Contract, read_contract
    from firmware_host.decisions import NO_SPEECH, UNCERTAIN, DecisionConfig
    from firmware_host.errors import EdgeSerError
    from firmware_host.features import FeatureConfig, FeatureExtractor
    from firmware_host.listener import Listener
    from firmware_host.microphone import Microphone, list_devices
    from firmware_host.mqtt import MqttPublisher
    from firmware_host.mqtt_config import MqttConfig
    from firmware_host.recognizer import EmotionRecognizer, Recognition
    from firmware_host.stream import Emotion, EmotionStream

__all__ = [
    "NO_SPEECH",
    "UNCERTAIN",
    "Captured",
    "Contract",
    "DecisionConfig",
    "EdgeSerError",
    "Emotion",
    "EmotionRecognizer",
    "EmotionStream",
    "FeatureConfig",
    "FeatureExtractor",
    "Listener",
    "Microphone",
    "MqttConfig",
    "MqttPublisher",
    "Recognition",
    "list_devices",
    "read_contract",
]

_MODULES = {
    "NO_SPEECH": "decisions",
    "UNCERTAIN": "decisions",
    "Captured": "capture",
    "Contract": "contract",
    "DecisionConfig": "decisions",
    "EdgeSerError": "errors",
    "Emotion": "stream",
    "EmotionRecognizer": "recognizer",
    "EmotionStream": "stream",
    "FeatureConfig": "features",
    "FeatureExtractor": "features",
    "Listener": "listener",
    "Microphone": "microphone",
    "MqttConfig": "mqtt_config",
    "MqttPublisher": "mqtt",
    "Recognition": "recognizer",
    "list_devices": "microphone",
    "read_contract": "contract",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for (PEP 562): `edge-ser --help` is not to wait for numpy.
    if name in _MODULES:
        return getattr(import_module(f"firmware_host.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
