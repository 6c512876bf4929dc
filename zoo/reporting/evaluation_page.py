"""The page of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.reporting.background import audit_section, costs_section, provenance_section
from zoo.reporting.blocks import Page, Section, Table, counted
from zoo.reporting.limits import breakdown_section, errors_section, robustness_section
from zoo.reporting.results import calls_section, scores_section
from zoo.reporting.source import Source
from zoo.reporting.words import cautions, key_figures, summarise


def make_evaluation_page(source: Source, *, title: str | None, tables: Sequence[Table], command: str | None) -> Page:
    """Put the page of one evaluation together; ``tables`` stand first."""
    facts = source.facts
    metrics = facts["metrics"]
    of = f"{source.of}: {counted(metrics['n_frames'], 'frame')} of {counted(metrics['n_targets'], 'target')}"
    sections = [
        scores_section(source),
        calls_section(source),
        robustness_section([source]),
        breakdown_section(source),
        errors_section(source),
        costs_section([source]),
        audit_section(source),
        provenance_section([source], command),
    ]
    return Page(
        title=title or f"{facts['model']} on {facts['data']}",
        subject=f"Run {source.run.name}, evaluated on {of}",
        summary=summarise(source),
        keys=key_figures(source),
        cautions=cautions(source),
        sections=[*first_tables(tables), *sections],
    )


def first_tables(tables: Sequence[Table]) -> list[Section]:
    """The section of the tables that a caller gives; none without any."""
    return [Section("tables", "Tables", list(tables))] if tables else []
