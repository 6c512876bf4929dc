"""The page of several evaluations of the same frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zoo.evaluation import Comparison
from zoo.evaluation.comparison import ALPHA, Pair, Standing
from zoo.evaluation.paired import INTERVAL, TEST
from zoo.evaluation.titles import SCORES
from zoo.intervals import METHODS
from zoo.reporting import plots
from zoo.reporting.background import audit_section, costs_section, provenance_section
from zoo.reporting.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    KeyFigure,
    Page,
    Points,
    Section,
    Table,
    Value,
    counted,
    say_ends,
    say_share,
    share,
)
from zoo.reporting.evaluation_page import first_tables
from zoo.reporting.limits import robustness_section
from zoo.reporting.plots import Dot
from zoo.reporting.results import ranking_figures
from zoo.reporting.source import Source, titled
from zoo.reporting.words import by_words, domain_words, say_points


def make_comparison_page(
    sources: Sequence[Source], result: Comparison, *, title: str | None, tables: Sequence[Table], command: str | None
) -> Page:
    """Put the page of a comparison together; ``tables`` stand first."""
    by_folder = {source.folder: source for source in sources}
    ranked = [titled(by_folder[standing.path.resolve()], standing.name) for standing in result.standings if standing.path is not None]
    sections = [
        _ranking_section(result),
        _pairs_section(result),
        Section("ranking-curves", "Ranking of the frames", [Figures(ranking_figures(ranked))]),
        robustness_section(ranked),
        _scores_section(ranked),
        _groups_section(ranked),
        costs_section(ranked),
        audit_section(ranked[0]),
        provenance_section(ranked, command),
    ]
    best = result.standings[0]
    frames = f"{counted(result.n_frames, 'frame')} of {counted(result.n_targets, 'target')}"
    return Page(
        title=title or f"{len(ranked)} models on {result.data}",
        subject=f"{result.data}, split {result.split}: {frames} that every model was scored on",
        summary=[result.verdict, _accuracy_words(best, result)],
        keys=[KeyFigure(one.name, say_share(one.accuracy.estimate), say_ends(one.accuracy)) for one in result.standings[:4]],
        cautions=_cautions(result, ranked),
        sections=[*first_tables(tables), *sections],
    )


def _accuracy_words(best: Standing, result: Comparison) -> str:
    tied = [one.name for one in result.standings[1:] if one.rank == best.rank]
    with_it = f" It shares the first place with {_and(tied)}: {counted(result.n_targets, 'target')} cannot tell them apart." if tied else ""
    score = f"{say_share(best.accuracy.estimate)} ({say_ends(best.accuracy)}, 95 % interval {by_words(best.accuracy)})"
    return f"{best.name} is right for {score}.{with_it}"


def _cautions(result: Comparison, sources: Sequence[Source]) -> list[str]:
    said = [words for words in {domain_words(one.domain, result.data_domain): None for one in result.standings} if words]
    for one in result.standings:
        if one.seen:
            said.append(f"{one.name}: {counted(len(one.seen), 'target')} of {result.n_targets} were used in its training or validation.")
    said += [f"{source.title} has other weights now than those that were evaluated." for source in sources if source.changed]
    if result.n_left_out:
        said.append(f"{counted(result.n_left_out, 'frame')} that not every model was scored on are left out.")
    least = min((pair.p_smallest for pair in result.pairs), default=0.0)
    if least >= ALPHA:
        said.append(f"So few targets differ that no p-value can fall below {least:.2g}.")
    return [*said, *result.notes]


def _ranking_section(result: Comparison) -> Section:
    rows: list[list[Value]] = []
    dots = []
    for index, one in enumerate(result.standings):
        tie = " (tie)" if sum(other.rank == one.rank for other in result.standings) > 1 else ""
        behind = Cell(one.behind.estimate, one.behind, percent=True) if one.behind else None
        p_value = None if one.p_adjusted is None else Cell(f"{one.p_adjusted:.3g}", right=True)
        rows.append([one.name, f"{one.rank}{tie}", one.model, share(one.accuracy), behind, p_value])
        dots.append(Dot(one.name, one.accuracy, f"{100 * one.accuracy.estimate:.1f} %", series=index))
    table = Table("Ranking", ["run", "rank", "model", "accuracy", "behind the first", "p"], rows, name="ranking-of-runs", notes=[
        "rank: 1 + the number of runs that are more accurate and can be told apart from it at 5 %; equal ranks are ties",
        f"p: that it is as good as the first; {TEST}, all pairs together by Holm",
        f"intervals: {METHODS[result.standings[0].accuracy.method]}; of differences: {INTERVAL}",
        *([f"coverage of the intervals: {result.coverage}"] if result.coverage else []),
    ])  # fmt: skip
    low = plots.reach(dots)[0]
    figure = Figure(
        "ranking",
        "Accuracy of every run",
        "Dot plot of accuracies with 95 % intervals: " + "; ".join(f"{dot.label} {say_share(dot.score.estimate)}" for dot in dots) + ".",
        lambda: plots.draw_dots(dots, xlabel="accuracy", limits=(low - 0.03, 1.0)),
        caption="Bars are 95 % intervals by target. That two overlap does not mean that the models cannot be told apart: see the pairs.",
    )
    return Section("ranking", "Ranking", [Figures([figure]), table])


def _pairs_section(result: Comparison) -> Section:
    rows: list[list[Value]] = []
    for pair in result.pairs:
        p_value = Cell(f"{pair.p_adjusted:.3g}", right=True)
        mcnemar = Cell(f"{pair.mcnemar_p:.3g}", right=True)
        difference = Cell(pair.difference.estimate, pair.difference, percent=True)
        rows.append([f"{pair.first} and {pair.second}", difference, p_value, pair.only_first, pair.only_second, mcnemar])
    columns = ["pair", "difference", "p", "only first right", "only second right", "McNemar's p"]
    table = Table("Every two runs", columns, rows, name="pairs", notes=[
        f"p: {TEST}; all pairs together by Holm",
        "McNemar's test takes every frame for itself, though frames of a target succeed and fail together: it finds differences too often",
    ])  # fmt: skip
    dots = [Dot(f"{pair.first} \N{MINUS SIGN} {pair.second}", pair.difference, series=0 if pair.distinct else 6) for pair in result.pairs]
    figure = Figure(
        "pairs",
        "Differences in accuracy",
        "Dot plot of the differences in accuracy of every two runs with 95 % intervals by target.",
        lambda: plots.draw_dots(dots, xlabel="difference in accuracy", reference=(0.0, "no difference")),
        caption="Blue circles: told apart at 5 %. Grey crosses: not told apart.",
    )
    blocks: list[Block] = [Points([_pair_words(pair) for pair in result.pairs]), Figures([figure]), table]
    return Section("pairs", "Pairs", blocks, lead="Paired by frame, tested by target.")


def _pair_words(pair: Pair) -> str:
    given = pair.difference
    ends = "no interval" if given.reason else f"95 % interval {say_points(given.lower)} to {say_points(given.upper)}"
    facts = f"{say_points(given.estimate)} points, {ends}, p = {pair.p_adjusted:.2g}"
    if pair.distinct:
        return f"{pair.first} is more accurate than {pair.second}: {facts}."
    return f"{pair.first} and {pair.second} cannot be told apart: {facts}."


def _scores_section(sources: Sequence[Source]) -> Section:
    rows: list[list[Value]] = [
        [title, *(Cell(_number(source.facts["metrics"][name])) for source in sources)] for name, title in SCORES.items()
    ]
    for name, title in (("log_loss", "log loss"), ("brier", "Brier score"), ("calibration_error", "expected calibration error")):
        rows.append([title, *(Cell(_number(source.facts["metrics"][name])) for source in sources)])
    notes = ["on all frames that each was scored on; intervals stand in the report of each run (zoo evaluate RUN --report)"]
    table = Table("Scores of every run", ["score", *(source.title for source in sources)], rows, notes=notes, name="scores-of-runs")
    return Section("scores", "All scores", [table])


def _groups_section(sources: Sequence[Source]) -> Section:
    """The accuracy of every group, a column per run; of groups that all runs have."""
    blocks: list[Block] = []
    for by in sources[0].facts["groups"]:
        held = [{str(group["name"]): group for group in source.facts["groups"].get(by, [])} for source in sources]
        names = [name for name in held[0] if all(name in groups for groups in held)]
        rows: list[list[Value]] = [
            [name, int(held[0][name]["n_frames"]), *(Cell(float(groups[name]["accuracy"]), percent=True) for groups in held)]
            for name in names
        ]
        if rows:
            columns = [by, "frames", *(source.title for source in sources)]
            blocks.append(Table(f"Accuracy by {by}", columns, rows, name=f"by-{by.replace(' ', '-')}"))
    return Section("breakdown", "Breakdowns", blocks)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _number(value: float | None) -> float:
    return math.nan if value is None else value
