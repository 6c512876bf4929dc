"""``zoo doctor``: what runs here, how fast it can be, and what to do about the rest."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Report kernels, devices, versions and plugin failures, with remedies.

    Exits with 5 when a finding is an error; warnings cost speed or a plugin and exit with 0.
    """
    from dataclasses import astuple

    from zoo.cli.output import emit_json, emit_table
    from zoo.doctor import diagnose
    from zoo.errors import CheckFailedError
    from zoo.training import environment_variables

    findings = diagnose(environment_variables=environment_variables())
    if as_json:
        emit_json(findings)
    else:
        emit_table(["subject", "status", "value", "what to do"], [astuple(finding) for finding in findings])
    errors = [finding for finding in findings if finding.status == "error"]
    if errors:
        raise CheckFailedError(f"{len(errors)} of {len(findings)} findings are errors: {', '.join(finding.subject for finding in errors)}")
