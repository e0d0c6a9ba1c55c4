"""The result book: a plan that can be counted, a page made of outcomes alone, SUBESCO's row."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_evaluation import write_subesco

from book_filled import fill
from book_pictures import draw
from book_plan import PLAN, chosen, estimate_minutes, read_plan
from book_report import ROBUSTNESS, made_of, to_markdown
from book_targets import LEAST_UAR, PUBLISHED, verdicts
from edge_ser.evaluation.outcome import FLOAT32, INT8, read_outcomes
from edge_ser.evaluation.units import Settings, joined
from edge_ser.metrics import percent
from firmware_host.errors import EdgeSerError
from result_book import OUTCOMES, PAGE, main, plan_in_words
from robustness import read_results

FOUR = {"RAVDESS", "EmoDB", "BanglaSER", "TESS"}
MOST_BYTES_OF_AN_OUTCOME, MOST_BYTES_OF_ALL = 150_000, 8_000_000
SMALL_PLAN = """
[[table]]
name = "subesco"
title = "SUBESCO"
text = "One fold is as good as five."
protocol = "speaker"
corpora = ["SUBESCO"]
seeds = [0]
settings = { size = "tiny", epochs = 1, qat_epochs = 1, batch_size = 15 }
optional = true

[[table]]
name = "paper"
title = "It leaks"
text = "By definition."
protocol = "paper"
corpora = ["SUBESCO", "TESS"]
seeds = [0]
settings = { epochs = 1 }
optional = true
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(SMALL_PLAN)
    return path


@pytest.fixture
def book(plan: Path, tmp_path: Path) -> Callable[..., str]:
    """`book("--only", ...)`: run the script in a folder of its own; what RESULTS.md then says."""

    def run(*arguments: str) -> str:
        page = tmp_path / "RESULTS.md"
        places = {"plan-file": plan, "out": tmp_path / "book", "work": tmp_path / "work"}
        options = [f"--{name}={path}" for name, path in places.items()]
        main([*options, f"--page={page}", f"--data={tmp_path / 'corpora'}", *arguments])
        return page.read_text() if page.exists() else ""

    return run


def test_the_published_page_is_that_of_the_published_outcomes() -> None:
    """RESULTS.md was made after the last outcome and the last change of the plan."""
    robustness = read_results(OUTCOMES.parent / ROBUSTNESS)
    assert PAGE.read_text() == to_markdown(read_plan(), read_outcomes(OUTCOMES), robustness)


def test_a_table_like_another_asks_for_the_same_work(tmp_path: Path) -> None:
    """Under its own name and layout, or but for a setting; there must be such another."""
    tables = {table.name: table for table in read_plan(PLAN)}
    for name in ("quantization", "certainty"):
        assert tables[name].units == tables["speaker"].units and tables[name].layout == name
    taught = tables["speaker"].units[0].settings
    less = replace(taught, weight_decay=Settings.weight_decay)
    assert tables["less-decay"].units[0].settings == less
    assert tables["unrefitted"].units[0].settings == replace(less, refit_epochs=0)
    lost = tmp_path / "plan.toml"
    lost.write_text('[[table]]\nname = "alone"\ntitle = "a"\ntext = "b"\nlike = "nobody"\n')
    with pytest.raises(EdgeSerError, match=r"no plan of a result book .*nobody"):
        read_plan(lost)


def test_certainty_is_that_of_the_probabilities() -> None:
    """A table's row says what its outcomes' probabilities are worth, each fold's pooled.

    A seed that was begun, and lacks folds, does not count beside one that has all.
    """
    (table,) = chosen(read_plan(), ["certainty"])
    (row,) = [row for row in table.rows if row.test_on == "RAVDESS"]
    known = {outcome.unit.slug: outcome for outcome in read_outcomes(OUTCOMES)}
    by_seed = {
        seed: [known.get(unit.slug) for unit in row.units if unit.seed == seed]
        for seed in {unit.seed for unit in row.units}
    }
    own = [one for whole in by_seed.values() if None not in whole for one in whole if one]
    begun = [known[unit.slug] for unit in row.units if unit.slug in known]
    right = np.concatenate([o.heard[INT8].probabilities.argmax(axis=1) == o.truth for o in own])
    sure = np.concatenate([outcome.heard[INT8].probabilities.max(axis=1) for outcome in own])
    kept = np.argsort(-sure, kind="stable")[: round(0.7 * len(sure))]
    (line,) = (x for x in to_markdown([table], begun).splitlines() if x.startswith("| RAVDESS | 5"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4] == percent(right.mean()) and cells[9] == percent(right[kept].mean())
    assert float(cells[5]) == pytest.approx(100 * (sure.mean() - right.mean()), abs=0.05)
    for stem, picture in draw(fill([table], begun)).items():
        assert picture.startswith(b"<?xml") and f"/{stem}.svg)" in to_markdown([table], begun)


def test_published_outcomes_stay_small() -> None:
    sizes = [path.stat().st_size for path in OUTCOMES.glob("*.json")]
    assert max(sizes, default=0) < MOST_BYTES_OF_AN_OUTCOME
    assert sum(sizes) < MOST_BYTES_OF_ALL


def test_the_plan_asks_for_every_table_that_is_wanted() -> None:
    tables = {table.name: table for table in read_plan(PLAN)}
    for name in ("speaker", "random", "paper"):
        assert tables[name].protocol == name
        assert {row.test_on for row in tables[name].rows} == FOUR
    assert {unit.seed for unit in tables["speaker"].units} == {0, 1, 2}
    assert {unit.seed for unit in tables["seeds"].units} == {0, 1, 2}
    assert all(len({unit.seed for unit in row.units}) == 1 for row in tables["seeds"].rows)
    assert len(tables["cross"].rows) == 12 and len(tables["loco"].rows) == 4
    assert {row.label for row in tables["ablations"].rows} == {
        "all of it",
        "without ECA",
        "without GFB",
        "without ALFB",
        "MFCC alone",
    }
    assert {unit.settings.size for unit in tables["sizes"].units} == {"tiny", "small", "base"}
    assert {unit.settings.size for unit in tables["tiny"].units} == {"tiny"}
    taught = {unit.teachers_slug for unit in tables["less-decay"].units if unit.seed == 0}
    assert {unit.teachers_slug for unit in tables["tiny"].units} == taught
    assert all(unit.settings.post_training for unit in tables["quantization"].units)
    # What two tables share is done once.
    together = joined([*tables["speaker"].units, *tables["quantization"].units])
    assert len(together) == 3 * (5 + 10 + 5 + 2)
    assert {(unit.key.test_on, *unit.key.pretrain_on) for unit in together} == {
        (name, *(other for other in ("RAVDESS", "EmoDB", "BanglaSER", "TESS") if other != name))
        for name in FOUR
    }
    assert all(estimate_minutes(unit) > 0 for table in tables.values() for unit in table.units)


def test_the_plan_is_told_and_nothing_is_computed(
    book: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book("--plan")
    said = capsys.readouterr().out
    assert "subesco" in said and "5 of    5 folds to compute" in said and "fold-minutes" in said
    assert not (tmp_path / "work").exists() and not (tmp_path / "RESULTS.md").exists()


def test_every_row_of_a_table_has_all_its_cells() -> None:
    for page in (PAGE.read_text(), to_markdown(read_plan(), [])):
        for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_says_by_which_command_a_row_is_filled(book: Callable[..., str]) -> None:
    page = book("--report")
    for name in ("subesco", "paper"):
        assert f"`python benchmarks/result_book.py --only {name}`" in page
    for line in page.splitlines():
        if line.startswith("| TESS"):
            assert "leaks" in line or PUBLISHED["TESS"] in line


def test_what_was_measured_of_degraded_recordings_stands_on_the_page(
    book: Callable[..., str],
) -> None:
    """And before it was, the command that does it, which needs the corpora."""
    assert "`python benchmarks/result_book.py --only robustness`" in to_markdown([], [])
    row = {f"{name}_points_to_clean": -4.0 for name in (FLOAT32, INT8)}
    row |= {FLOAT32: 0.5, INT8: 0.5, "int8_points_to_float32": 0.0}
    row |= {"int8_accuracy": 0.6, "int8_accuracy_points_to_clean": -3.0}
    own = {**row, "int8_points_to_clean_interval": (-6.0, -1.0)}
    conditions = [{"name": "a tap, 10 dB", "snr_db": 10, "mean": row, "corpora": {"TESS": own}}]
    sure = {"clips": 7, "calibration_error": 0.05, "rejection_gain": 8.0}
    measured = {"model": "a model", "corpora": {"TESS": {}}, "conditions": conditions}
    measured |= {"all_clean": sure}
    page = to_markdown([], [], measured)
    means = "| a tap, 10 dB | 50.0 (-4.0) | 50.0 (-4.0) | +0.0 | 60.0 (-3.0) |"
    assert f"{means} 50.0 (-4.0; -6.0 to -1.0) |" in page
    assert "all 7 recordings: calibration error 5.0 %" in page and "is +8.0 points" in page
    assert "| a tap, 10 dB | -4.00 | >= -6 | - | met |" in page
    assert "| a model | 5.0 | <= 5 | - | met |" in page and "| +8.00 | >= +8 | - | met |" in page
    row["int8_points_to_clean"], sure["calibration_error"] = -6.01, 0.0501
    page = to_markdown([], [], measured)
    assert "| a tap, 10 dB | -6.01 | >= -6 | - | NOT met |" in page
    assert "| a model | 5.0 | <= 5 | - | NOT met |" in page
    with pytest.raises(EdgeSerError, match="is no folder: give the folder"):
        book("--only", "robustness")


def test_targets_are_held_against_the_outcomes() -> None:
    """By the figure itself, and not by what is left of it after the decimal is cut."""
    (table,) = chosen(read_plan(), ["speaker"])
    outcomes = read_outcomes(OUTCOMES)
    known = {outcome.unit.slug: outcome for outcome in outcomes}
    found = {verdict.of: verdict for verdict in verdicts(fill([table], outcomes), None)[:4]}
    for row in table.rows:
        first = [known[unit.slug] for unit in row.units if unit.seed == 0]
        uar = sum(outcome.score(INT8).uar for outcome in first) / len(first)
        limit, aim = LEAST_UAR[row.test_on]
        (alone,) = [v for v in verdicts(fill([table], first), None)[:4] if v.of == row.test_on]
        assert (alone.met, alone.reached) == (100 * uar >= limit, 100 * uar >= aim)
        assert alone.measured == percent(uar)
        assert found[row.test_on].met is not None
    unknown = verdicts(fill(read_plan(), []), None)
    assert unknown and {verdict.in_a_word for verdict in unknown} == {"not measured"}


def test_a_paragraph_says_what_the_papers_figure_is_made_of() -> None:
    (text,) = made_of({"RAVDESS": (0.95, 0.8, 0.65)})
    assert "65.0 on people never heard, +15.0 points with their voices" in text
    assert "+15.0 with copies of the test recordings" in text and "paper reports 94.88" in text
    assert not made_of({})


def test_subescos_command_fills_its_row(
    book: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its published layout; killed after some folds the page says how many there are."""
    (tmp_path / "corpora").mkdir()
    assert "not computed yet" in book()  # without the corpus it is left out
    said = capsys.readouterr().out
    assert "left out, SUBESCO is not here" in said
    assert "robustness: left out, RAVDESS is not here" in said
    with pytest.raises(EdgeSerError, match="download SUBESCO"):
        book("--only", "subesco")
    write_subesco(tmp_path / "corpora")
    page = book("--only", "subesco", "--jobs", "1")
    outcomes = read_outcomes(tmp_path / "book")
    assert len(outcomes) == 5
    mean = sum(outcome.score(INT8).uar for outcome in outcomes) / 5
    (row,) = [line for line in page.splitlines() if line.startswith("| SUBESCO | 5 | 1 | 40 |")]
    assert f"| {percent(mean)} |" in row
    (tmp_path / "book" / f"{outcomes[2].unit.slug}.json").unlink()
    page = book("--report")
    assert "| SUBESCO | 4 of 5 | 1 |" in page
    assert "missing in 1 of 1 rows: `python benchmarks/result_book.py --only subesco`" in page
    told = plan_in_words(read_plan(tmp_path / "plan.toml")[:1], tmp_path / "book")
    assert "1 of    5 folds to compute" in told


def test_what_the_plan_cannot_mean_gets_one_sentence(plan: Path) -> None:
    tables = read_plan(plan)
    with pytest.raises(EdgeSerError, match="no table 'x': choose of subesco, paper"):
        chosen(tables, ["x"])
    plan.write_text(SMALL_PLAN.replace("batch_size = 15", "depth = 3"))
    with pytest.raises(EdgeSerError, match="no setting 'depth'"):
        read_plan(plan)
    plan.write_text("[[table]]\nname = 3\n")
    with pytest.raises(EdgeSerError, match="is no plan of a result book"):
        read_plan(plan)
