"""Certainty: what a model's probabilities are worth, over some recordings.

How sure it is against how often it is right, and what is right when the least certain recordings
are left out.
"""

from dataclasses import dataclass

from edge_ser.outcomes import Outcomes
from edge_ser.rejection import CoveragePoint, coverage_curve, rejection_gain
from edge_ser.reliability import ReliabilityBin, reliability

DIAGRAM_BINS = 8  # of a reliability diagram, each of as many recordings


@dataclass(frozen=True)
class Certainty:
    """The figures of one model on some recordings.

    Args:
        calibration_error: expected calibration error, 0 to 1; see `edge_ser.reliability`.
        uncalibrated_error: the same without the model's temperature.
        overconfidence: mean confidence less accuracy; below 0 it is too modest.
        reliability, uncalibrated_reliability: confidence and accuracy of `DIAGRAM_BINS` parts of
            as many recordings each, the least confident first.
        coverage: accuracy of the most certain recordings alone.
        rejection_gain_points: what rejecting the least certain 30 % adds to the accuracy, in
            percentage points.
    """

    calibration_error: float
    uncalibrated_error: float
    overconfidence: float
    reliability: tuple[ReliabilityBin, ...]
    uncalibrated_reliability: tuple[ReliabilityBin, ...]
    coverage: tuple[CoveragePoint, ...]
    rejection_gain_points: float


def certainty(outcomes: Outcomes, uncalibrated: Outcomes) -> Certainty:
    """What these probabilities are worth.

    Args:
        uncalibrated: of the same recordings at temperature 1.
    """
    calibrated = reliability(outcomes)
    return Certainty(
        calibration_error=calibrated.error,
        uncalibrated_error=reliability(uncalibrated).error,
        overconfidence=calibrated.overconfidence,
        reliability=reliability(outcomes, DIAGRAM_BINS, equal_mass=True).bins,
        uncalibrated_reliability=reliability(uncalibrated, DIAGRAM_BINS, equal_mass=True).bins,
        coverage=coverage_curve(outcomes),
        rejection_gain_points=rejection_gain(outcomes),
    )
