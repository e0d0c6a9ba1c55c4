"""The pictures of RESULTS.md: what is taken for what, and how sure the model is."""

from collections.abc import Mapping

from book_filled import Filled
from book_report import DRAWN
from edge_ser.bench.pictures import (
    ConfidencePanel,
    ConfusionPanel,
    draw_confidence,
    draw_confusions,
)
from edge_ser.evaluation.report import headline
from edge_ser.metrics import percent

COLUMNS = 2  # of confusion matrices side by side


def draw(filled: Filled) -> Mapping[str, bytes]:
    """Each picture of `DRAWN` by its stem, as SVG, of these tables; none without figures."""
    summaries = [one.summary for _, rows in filled for one in rows if one.summary is not None]
    if not summaries:
        return {}
    confusions, confidence = [], []
    for summary in summaries:
        best = headline(summary)
        title = f"{summary.test_on}: UAR {percent(best.uar)} %"
        confusions.append(ConfusionPanel(title, summary.labels, best.confusion))
        sure = best.certainty
        confidence.append(
            ConfidencePanel(
                summary.test_on,
                {best.variant: sure.reliability},
                {best.variant: sure.uncalibrated_reliability},
                {best.variant: sure.coverage},
            )
        )
    pictures = draw_confusions(confusions, COLUMNS), draw_confidence(confidence)
    return {stem: both["svg"] for stem, both in zip(DRAWN, pictures, strict=True)}
