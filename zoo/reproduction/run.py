"""`reproduce`: train the paper's networks, measure them on its sets, and make its tables."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import zoo
from zoo.data import DataSet
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.evaluation.result import Evaluation
from zoo.explaining import check_pictures
from zoo.registry import get_registry
from zoo.reproduction.folder import SCHEMA, Folder, check_space
from zoo.reproduction.insight import degrade_frames, explain_network
from zoo.reproduction.progress import Progress
from zoo.reproduction.published import LISTS, PAPER
from zoo.reproduction.recipe import Network, Recipe, TestSet, find_recipe
from zoo.reproduction.report import why_no_report, write_page
from zoo.reproduction.result import PaperTable, Reproduction, Stage
from zoo.reproduction.sets import open_set, open_source, open_training
from zoo.reproduction.tables import Tables
from zoo.reproduction.work import Done, Machine, evaluate_network, measure_cost, measure_network, needed_bytes, run_name, train_network
from zoo.training import find_device, find_precision

DEFAULT_OUTPUT = f"runs/reproduce-{PAPER}"


def reproduce(
    paper: str = PAPER,
    *,
    data: str | os.PathLike[str] | None = None,
    train_list: str | os.PathLike[str] | None = None,
    quick: bool = False,
    output: str | os.PathLike[str] = DEFAULT_OUTPUT,
    only: Sequence[str] = (),
    seeds: int = 1,
    from_scratch: bool = False,
    fit: str | None = None,
    device: str = "auto",
    workers: int = 2,
    force: bool = False,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Train and evaluate the networks of a paper and make its tables; finished parts in the output folder are not done again.

    Args:
        paper: its arXiv number; 2312.04948 is the only one.
        data: folder with the authors' lists and the files behind them; the simulated sky without.
        train_list: manifest to train on, so that the whole published list is tested on; without, the list is split by target.
        quick: 256x512 pixels, four small networks, few steps.
        output: folder for runs, records and tables; the same one goes on where it stopped.
        only: keys of the networks to do; all without.
        seeds: trainings of each network, with seeds 0, 1, ...
        from_scratch: start every network from new weights instead of published ones.
        fit: memory that a training may take, as for ``zoo train --fit``.
        device, workers: as for `zoo.train` and `zoo.evaluate`.
        force: replace what another recipe left in the folder.
        recipe: instead of the paper's.
        progress: is told what happens.

    Raises:
        UnknownNameError: no such paper or network. UsageError: an argument is out of range, or the folder holds something else.
        DataError: there are no such lists or files. CheckFailedError: a target of the test was trained on. BusyError: another process
            works in the folder. StorageError: the disk has too little room. InterruptedRunError: a signal came; the same call goes on.

    Example: >>> zoo.reproduction.reproduce(quick=True).tables[1].rows
    """
    if paper != PAPER:
        raise UnknownNameError("paper", paper, [PAPER], remedy=f"This is about arXiv:{PAPER}.")
    if seeds < 1:
        raise UsageError(f"seeds must be >= 1, got {seeds}")
    if train_list is not None and data is None:
        raise UsageError("got a list to train on without --data, the folder of the lists to test on")
    told = progress or Progress()
    if recipe is None:
        folders = [None if given is None else Path(given).absolute() for given in (data, train_list)]
        recipe = find_recipe(quick=quick, data=folders[0], train_list=folders[1], from_scratch=from_scratch)
    chosen = recipe.only(only)
    where = find_device(device)
    machine = Machine(str(where), find_precision("auto", where), workers, fit)
    folder = Folder(Path(output), force)
    plan: dict[str, Any] = {
        "paper": paper,
        "recipe": recipe.name,
        "data": recipe.source,
        "root": recipe.root,
        "trained_on": recipe.trained_on,
    }
    plan |= {"from_scratch": recipe.from_scratch, "fit": fit}
    with folder.open(plan):
        return _Session(folder, chosen, tuple(range(seeds)), machine, told).run()


@dataclass
class _Session:
    """One call of `reproduce`, whose parts are done in turn."""

    folder: Folder
    recipe: Recipe
    seeds: tuple[int, ...]
    machine: Machine
    progress: Progress
    stages: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _evaluations: dict[tuple[str, str], Evaluation] = field(default_factory=dict)
    _looked: Sequence[Network] = ()
    _explained: Sequence[Network] = ()
    _left: list[float] = field(default_factory=list)
    _total: int = 0
    _spent: tuple[float, float] = (0.0, 0.0)  # seconds, and what they were expected to be

    def run(self) -> Reproduction:
        """Do every part and make the tables."""
        check_space(self.folder.path, self._needed_bytes())
        self._looked = [network for network in self.recipe.networks if network.key in self.recipe.insight.networks]
        self._explained = self._looked if self._has_pictures() else []
        self._expect(self.recipe.sets, self.recipe.data_s)
        source = self._open_source()
        sets = self._open_sets(source)
        trained = open_training(self.recipe, source)
        self._expect([test for test, _ in sets])
        runs = [(network, seed) for network in self.recipe.networks for seed in self.seeds]
        shared = (self.machine, self.progress)
        weights: dict[str, str] = {}
        for network, seed in runs:
            name = run_name(network, seed)
            work = partial(train_network, self.folder, self.recipe, network, seed, trained, *shared)
            weights[name] = self._do(f"train {name}", work).record["weights"]
        scores: dict[str, dict[str, Mapping[str, Any]]] = {test.key: {} for test, _ in sets}
        for test, data in sets:
            for network, seed in runs:
                name = run_name(network, seed)
                evaluated = partial(self._evaluate, network, seed, data)
                work = partial(measure_network, self.folder, network, seed, test, data, weights[name], self.machine, evaluated)
                scores[test.key][name] = self._do(f"evaluate {name}, {test.title} set", work).record
        for title, networks, look in (
            ("degrade the frames of", self._looked, degrade_frames),
            ("explain the errors of", self._explained, explain_network),
        ):
            for network in networks:
                facts = (self.folder, network, self.recipe.insight, sets[0][1], weights[run_name(network, 0)])
                self._do(f"{title} {network.key}", partial(look, *facts, partial(self._evaluate, network, 0, sets[0][1]), *shared))
        costs: dict[str, Mapping[str, Any]] = {}
        for network in self.recipe.networks:
            first = weights[run_name(network, 0)]
            work = partial(measure_cost, self.folder, network, self.recipe.budget_s, first, *shared)
            costs[network.key] = self._do(f"cost of {network.key}", work).record
        return self._finish(trained, sets, scores, costs)

    def _expect(self, sets: Sequence[TestSet], *before: float) -> None:
        """Plan the times of the parts that follow: those given, then those of every network."""
        networks, insight, seeds = self.recipe.networks, self.recipe.insight, len(self.seeds)
        self._left = [*before, *(network.expected_s for network in networks for _ in self.seeds)]
        self._left += [test.expected_s for test in sets for _ in range(len(networks) * seeds)]
        self._left += [insight.degrade_s for _ in self._looked] + [insight.explain_s for _ in self._explained]
        self._left += [self.recipe.cost_s for _ in networks]
        self._total = len(self.stages) + len(self._left)

    def _open_source(self) -> DataSet:
        """The data of the recipe; rendering or reading them is the first part."""
        opened = []

        def work() -> Done:
            began = time.monotonic()
            try:
                opened.append(open_source(self.recipe, partial(self.progress.work, "preparing data")))
            except DataError as err:
                if not self.recipe.listed:
                    raise
                remedy = f"'zoo data fetch {LISTS[0]} --to DIR' gets the files; the lists and the files belong into the folder of --data"
                raise DataError(f"{err} ({remedy})") from err
            return Done({}, time.monotonic() - began, found=False)

        self._do("prepare the data", work, paces=False)  # they may be there already
        return opened[0]

    def _has_pictures(self) -> bool:
        """Whether errors can be shown; if not, it is said what is missing."""
        try:
            check_pictures()
        except UsageError as err:
            self._note(f"errors are not explained: {err}")
            return False
        return True

    def _evaluate(self, network: Network, seed: int, data: DataSet) -> Evaluation:
        """The evaluation of a run, made once in a session."""
        key = run_name(network, seed), data.name
        if key not in self._evaluations:
            self._evaluations[key] = evaluate_network(self.folder, network, seed, data, self.machine, self.progress)
        return self._evaluations[key]

    def _open_sets(self, source: DataSet) -> list[tuple[TestSet, DataSet]]:
        """The sets whose frames are there; one with a list of its own may be absent."""
        found = []
        for test in self.recipe.sets:
            try:
                found.append((test, open_set(self.recipe, test, source)))
            except DataError as err:
                if test.source is None:
                    raise
                self._note(f"no table of {test.title}: {err}")
        return found

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)

    def _do(self, title: str, work: Callable[[], Done], *, paces: bool = True) -> Done:
        """Do one part, and say how far the whole is; ``paces`` says whether its time tells how long the others will take."""
        expected = self._left.pop(0)
        seconds, planned = self._spent
        rate = seconds / planned if planned else 1.0
        known = planned or (self.recipe.timed and not any(stage.found for stage in self.stages))  # what is found may go on being found
        left = (expected + sum(self._left)) * rate if known else None
        self.progress.part(self._total - len(self._left), self._total, title, left)
        done = work()
        if paces and not done.found:
            self._spent = (seconds + done.seconds, planned + expected)
        self.stages.append(Stage(title, done.seconds, done.found))
        self.progress.done(title, done.seconds, found=done.found)
        return done

    def _needed_bytes(self) -> int:
        """Disk space of the runs that are not there yet."""
        sizes, slots = {}, {}
        for network in self.recipe.networks:
            count = get_registry().get("models", network.model).metadata.get("parameters") or 0
            for seed in self.seeds:
                name = run_name(network, seed)
                if not (self.folder.run(name) / "model").is_dir():
                    sizes[name], slots[name] = count, 1 if network.train.get("optimizer") == "sgd" else 2
        return needed_bytes(sizes, slots.__getitem__)

    def _finish(
        self,
        trained: DataSet,
        sets: Sequence[tuple[TestSet, DataSet]],
        scores: Mapping[str, Mapping[str, Mapping[str, Any]]],
        costs: Mapping[str, Mapping[str, Any]],
    ) -> Reproduction:
        """Make the tables and write them."""
        simulated = any(data.domain == "simulated" for _, data in sets)
        maker = Tables(self.folder, self.recipe, simulated, self.seeds, {})
        tables: list[PaperTable] = [maker.data(trained, {test.key: data for test, data in sets})]
        tables += [maker.accuracy(test, data, scores[test.key]) for test, data in sets]
        tables.append(maker.cost(costs))
        result = Reproduction(
            path=self.folder.path,
            domain="simulated" if simulated else trained.domain,
            command=self.recipe.command,
            tables=tuple(tables),
            provenance=maker.provenance,
            recipe=self.recipe.to_dict(),
            stages=tuple(self.stages),
            notes=tuple(self.notes),
            report=self._write_report(tables, scores[self.recipe.sets[0].key]),
        )
        maker.write(tables, {"schema": SCHEMA, "zoo": zoo.__version__, "paper": PAPER, **result.to_dict()})
        return result

    def _write_report(self, tables: Sequence[PaperTable], records: Mapping[str, Mapping[str, Any]]) -> Path | None:
        """Write the page, or say what it lacks."""
        if reason := why_no_report(self.folder.path):
            self.progress.note(f"no report: {reason}")
            return None
        places = [self.folder.path / records[run_name(network, 0)]["evaluation"] for network in self.recipe.networks]
        return write_page(self.folder.path, tables, places, self.recipe.command)
