"""The paper's tables, from finished parts: our figures with what they were made of, and the published ones beside real frames only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import storage
from zoo.data import DataSet, Row
from zoo.evaluation.stored import RESULT_NAME, Measured, read_evaluations
from zoo.intervals import METHOD, Interval, accuracy_interval
from zoo.models.places import CARD_NAME, MODEL_FOLDER
from zoo.profiling.paper import NO_HARDWARE, NOT_PUBLISHED, PUBLISHED_MS
from zoo.reproduction import published
from zoo.reproduction.folder import Folder, digest
from zoo.reproduction.recipe import Network, Recipe, TestSet
from zoo.reproduction.result import Item, PaperTable, Value
from zoo.reproduction.work import run_name

SIMULATED = "SIMULATED SKY"
HASH_LENGTH = 10
MIB, GIGA = 2**20, 1e9


@dataclass
class Tables:
    """Makes the tables of one reproduction and keeps what their figures were made of.

    Attributes:
        folder, recipe: of the reproduction. simulated: whether its frames are.
        seeds: of the trainings of each network.
        provenance: hash -> facts, for every figure of the tables made so far.
    """

    folder: Folder
    recipe: Recipe
    simulated: bool
    seeds: Sequence[int]
    provenance: dict[str, dict[str, Any]]

    def _trace(self, what: str, **facts: Any) -> str:
        """Keep the facts behind a figure and return their hash."""
        whole = {"what": what, **facts, "command": self.recipe.command}
        short = digest(whole)[:HASH_LENGTH]
        self.provenance[short] = whole
        return short

    def _title(self, text: str) -> str:
        return f"{SIMULATED}: {text}" if self.simulated else text

    def _published(self, *items: Item) -> tuple[Item, ...]:
        """Cells that stand beside real frames only."""
        return () if self.simulated else items

    def data(self, trained: DataSet, sets: Mapping[str, DataSet]) -> PaperTable:
        """Return what was trained and tested on, beside the paper's collection."""
        parts: list[tuple[str, Sequence[Row], str]] = [("training", trained.select("train"), NOT_PUBLISHED)]
        parts.append(("validation", trained.select("val"), NOT_PUBLISHED))
        whole = {"test": "1595 frames of 14 + 7 targets", "blurry": "116 frames of 10 + 6 targets"}
        parts += [(key, data.select("test"), whole.get(key, NOT_PUBLISHED)) for key, data in sets.items()]
        rows: list[tuple[Item, ...]] = []
        for name, members, said in parts:
            trace = self._trace("frames", part=name, rows=trained.manifest.with_rows(members).fingerprint())
            targets = [len({row.target for row in members if row.label == label}) for label in trained.labels]
            rows.append((name, *(Value(count, provenance=trace) for count in (len(members), *targets)), *self._published(said)))
        heads = ("part", "frames", *(f"{label} targets" for label in trained.labels), *self._published("published"))
        collection = f"the paper's collection has {published.IMAGES} images of {published.GALAXIES} galaxies and {published.NSCS} NSCs"
        notes = ["no target is in two of training, validation and test", *self._published(collection)]
        return PaperTable("data", self._title("frames"), tuple(map(str, heads)), tuple(rows), tuple(map(str, notes)))

    def accuracy(self, test: TestSet, data: DataSet, records: Mapping[str, Mapping[str, Any]]) -> PaperTable:
        """Return the accuracy of every network on one set.

        Args:
            test, data: the set. records: run -> what `measure_network` wrote down.
        """
        many = len(self.seeds) > 1
        rows: list[tuple[Item, ...]] = []
        notes = [f"the set: {test.says}", f"95 % intervals by target: {METHOD}"]
        notes.append("frames: what the network takes; smaller ones than the files hold are means of blocks of pixels, as in LCID-Resize")
        for network in self.recipe.networks:
            names = [run_name(network, seed) for seed in self.seeds]
            measured = [read_evaluations(self.folder.path / records[name]["evaluation"])[0] for name in names]
            value = self._accuracy_of(network, test, names, measured, records)
            each = [accuracy_interval(*_right(one)).estimate for one in measured]
            spread = (Value(min(each), provenance=value.provenance), Value(max(each), provenance=value.provenance)) if many else ()
            rows.append((network.title, network.model, _size(network), value, *spread, *self._published(_published_share(network, test))))
            if refused := sum(bool(outcome.code) for one in measured for outcome in one.outcomes.values()):
                notes.append(f"{network.key}: {refused} frames could not be read and are not counted")
        rows += self._baselines(test, records)
        heads = ["network", "model", "frames", "accuracy", *(("lowest seed", "highest seed") if many else ())]
        notes += [f"accuracy: mean over {len(self.seeds)} seeds; the interval is that of the mean"] if many else []
        members = data.select("test")
        told = f"accuracy on the {test.title} set: {len(members)} frames of {len({row.target for row in members})} targets ({data.name})"
        if not self.simulated:
            heads.append("published")
            notes.append(
                "published: of HR-CelestialNet at 2048x4096, trained on other frames, whose lists are not published"
                + ("" if self.recipe.trained_on or test.source else "; on the whole list of 1595 frames, of which ours are a part")
            )
        return PaperTable(test.key, self._title(told), tuple(heads), tuple(rows), tuple(notes))

    def _accuracy_of(
        self, network: Network, test: TestSet, names: Sequence[str], measured: Sequence[Measured], records: Mapping[str, Mapping[str, Any]]
    ) -> Value:
        """The accuracy over all frames and seeds, with the interval of its mean over the seeds."""
        right, targets = map(list, zip(*(pair for one in measured for pair in zip(*_right(one), strict=True)), strict=True))
        interval = accuracy_interval(right, targets)
        first = records[names[0]]
        card = storage.read_json(self.folder.run(names[0]) / MODEL_FOLDER / CARD_NAME)
        trace = self._trace(
            "accuracy",
            network=measured[0].model,
            set=test.key,
            weights={name: records[name]["weights"] for name in names},
            rows=first["rows"],
            set_steps=list(test.steps),
            pipeline=card["pipeline"],
            precision=measured[0].precision,
            interval=METHOD,
            made_by=first["made_by"],
        )
        return Value(interval.estimate, interval, trace)

    def _baselines(self, test: TestSet, records: Mapping[str, Mapping[str, Any]]) -> list[tuple[Item, ...]]:
        """Rows of what is reached without a network, as it was measured beside the first one."""
        name = run_name(self.recipe.networks[0], self.seeds[0])
        place = self.folder.path / records[name]["evaluation"]
        rows: list[tuple[Item, ...]] = []
        for baseline in storage.read_json(place / RESULT_NAME)["baselines"]:
            found = baseline["interval"]
            estimate, lower, upper = (float("nan") if found[end] is None else found[end] for end in ("estimate", "lower", "upper"))
            interval = Interval(estimate, lower, upper, found["n_targets"], found["reason"])
            trace = self._trace("baseline", name=baseline["name"], set=test.key, rows=records[name]["rows"], set_steps=list(test.steps),
                                interval=METHOD, made_by=records[name]["made_by"])  # fmt: skip
            spread = (None, None) if len(self.seeds) > 1 else ()
            value = Value(baseline["accuracy"], interval, trace)
            rows.append((f"no network: {baseline['name']}", "", "", value, *spread, *self._published("not in the paper")))
        return rows

    def cost(self, records: Mapping[str, Mapping[str, Any]]) -> PaperTable:
        """Return the comparison of hardware: parameters, MACs, memory, time.

        Args:
            records: network -> what `measure_cost` wrote down.
        """
        rows: list[tuple[Item, ...]] = []
        notes = ["memory: predicted, all tensors at the worst instant; FLOPs: twice the MACs"]
        for network in self.recipe.networks:
            record = records[network.key]
            shape, label = record["input_shape"], {"model": network.model, "options": dict(network.options)}
            counted = self._trace("counted", **label, input_shape=shape, zoo=record["made_by"]["zoo"])
            predicted = self._trace("predicted memory", **label, input_shape=shape, batch=record["batch"], precision=record["precision"],
                                    made_by=record["made_by"])  # fmt: skip
            timed = self._trace("latency", weights=record["weights"], input_shape=shape, samples=record["samples"],
                                precision=record["precision"], machine=record["machine"], made_by=record["made_by"])  # fmt: skip
            macs, time_s = record["macs"], record["time_s"]
            milliseconds = PUBLISHED_MS.get(network.published_as)
            said = NOT_PUBLISHED if milliseconds is None else f"{milliseconds} ms ({NO_HARDWARE})"
            rows.append(
                (
                    network.title,
                    network.model,
                    _size(network),
                    Value(record["parameters"], provenance=counted),
                    Value(_over(macs, GIGA), provenance=counted),
                    Value(_over(macs, GIGA / 2), provenance=counted),
                    Value(_over(record["infer_bytes"], MIB), provenance=predicted),
                    Value(_over(record["train_bytes"], MIB), provenance=predicted),
                    record["batch"],
                    Value(_over(time_s, 1e-3), provenance=timed),
                    *self._published(said),
                )
            )
            notes += record["notes"]
        machine = records[self.recipe.networks[0].key]["machine"]
        what = machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads"
        notes.insert(0, f"time: median of inferences of one frame, {machine['precision']}, on {what}")
        heads = ["network", "model", "frames", "parameters", "GMACs", "GFLOPs", "inference MiB", "training MiB", "batch", "ms per frame"]
        heads += [str(head) for head in self._published("published time")]
        return PaperTable("hardware", self._title("what the networks cost"), tuple(heads), tuple(rows), tuple(notes))

    def write(self, tables: Sequence[PaperTable], facts: Mapping[str, Any]) -> Path:
        """Write ``tables.json`` and a CSV of each table; return the former."""
        for table in tables:
            storage.write_text(self.folder.path / "tables" / f"{table.key}.csv", table.to_csv())
        path = self.folder.path / "tables.json"
        storage.write_json(path, facts)
        return path


def _right(measured: Measured) -> tuple[list[bool], list[str]]:
    """Of each scored frame whether it was called right, and its target."""
    scored = [outcome for outcome in measured.outcomes.values() if not outcome.code]
    return [outcome.right for outcome in scored], [outcome.target for outcome in scored]


def _published_share(network: Network, test: TestSet) -> Item:
    share = published.ACCURACY.get((network.published_as, test.key))
    return NOT_PUBLISHED if share is None else round(share.right / share.frames, 4)


def _size(network: Network) -> str:
    return f"{network.size[0]}x{network.size[1]}"


def _over(value: float | None, unit: float) -> float | None:
    """A figure in another unit, with five significant digits; ``None`` stays."""
    return None if value is None else float(f"{value / unit:.5g}")
