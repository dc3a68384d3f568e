"""The queries of a plan, subject by subject: which there are, and which of them are still open."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from bvverify.errors import BvverifyError, InputError, NotExact, UnsupportedLayer
from bvverify.evidence import Posed, Subject
from bvverify.kernels.target import Target
from bvverify.load import load_model_for
from bvverify.load.factory import read_factory
from bvverify.load.inputs import Images, parse_indices
from bvverify.queries import Query, Robustness, region_around
from bvverify.runs.keys import clip_text, input_digest, query_key, region_text, subject_row
from bvverify.runs.plan import ModelSource, Plan
from bvverify.runs.store import Item, Store

_CONFIRMED_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Asked:
    """One query of a section, with the key under which its verdict is kept."""

    position: int
    radius: Fraction
    question: Robustness
    key: str


class Section:
    """The queries of one model on one target."""

    def __init__(self, plan: Plan, subject: Subject, images: Images, *, name: str) -> None:
        """Take the plan's inputs, in the model's shape, and compute their classes."""
        self.subject = subject
        self._plan, self._images = plan, images
        self._row = subject_row(subject, name=name)
        self._positions = positions(plan, images)
        self._free = None
        if plan.patch is not None:
            self._free = plan.patch.mask(images.picture).reshape(images.images.shape[1:])
        predictions = subject.classes(images.real[self._positions]).tolist()
        self._predictions: dict[int, int] = dict(zip(self._positions, predictions, strict=True))
        self._digests = {position: input_digest(images.images[position]) for position in self._positions}

    @property
    def name(self) -> str:
        """The model and the target, for messages."""
        return f"{self._row.model} on {self._row.target}"

    @property
    def network(self) -> str:
        """Digest of the network."""
        return self._row.network

    def asked(self, store: Store) -> list[Asked]:
        """Return all queries, in the order of the plan, after the store has taken note of them."""
        number = store.add_subject(self._row)
        asked, clip = self._asked(), clip_text(self._plan.region, self._plan.clip)
        store.add_items(number, (self._item(one, clip) for one in asked))
        return asked

    def pose(self, asked: Asked) -> Posed:
        """Return a query as a search sees it."""
        image = self._images.images[asked.position]
        region = region_around(image, self._plan.region, asked.radius, self._plan.clip, free=self._free)
        return self.subject.pose(Query(region, asked.question))

    def confirm(self, asked: list[Asked]) -> None:
        """Run the inputs of these queries on the real kernel, where this machine has it, and compare all bytes."""
        if self.subject.replay_refusal is None:
            wanted = np.array(sorted({one.position for one in asked}), dtype=np.int64)
            for start in range(0, len(wanted), _CONFIRMED_AT_ONCE):
                self.subject.predictions(self._images.real[wanted[start : start + _CONFIRMED_AT_ONCE]])

    def _asked(self) -> list[Asked]:
        plan, images, clip = self._plan, self._images, clip_text(self._plan.region, self._plan.clip)
        region = region_text(plan.region, plan.patch)
        classes, found = self.subject.lowered.network.outputs, []
        for tie, radius in itertools.product(plan.ties, plan.radii):
            for position in self._positions:
                label = self._predictions[position] if images.labels is None else int(images.labels[position])
                question = Robustness(label, classes, tie)
                key = query_key(self._row.digest, self._digests[position], region, radius, clip, question)
                found.append(Asked(position, radius, question, key))
        return found

    def _item(self, asked: Asked, clip: str) -> Item:
        return Item(
            source=self._images.name,
            position=asked.position,
            region=region_text(self._plan.region, self._plan.patch),
            radius=str(asked.radius),
            clip=clip,
            tie=str(asked.question.tie),
            label=asked.question.label,
            prediction=self._predictions[asked.position],
            image=self._images.images[asked.position],
            input_digest=self._digests[asked.position],
            query=asked.key,
        )


def positions(plan: Plan, images: Images) -> list[int]:
    """Return the places of the plan's inputs in their file."""
    count = len(images.images)
    return parse_indices(plan.indices, count) if plan.indices else list(range(count))


def targets(plan: Plan) -> list[Target]:
    """Return the plan's targets, each once; raise `UsageError` for names that mean none."""
    return list(dict.fromkeys(Target.parse(text) for text in plan.targets))


def open_sections(plan: Plan, images: Images, problems: list[str], *, reproducers: Path) -> Iterator[Section]:
    """Yield the plan's sections; what cannot be opened is added to `problems` and left out.

    The caller closes each section's subject.
    """
    for source in plan.models:
        name = model_name(source, plan)
        try:
            deployed, shaped = load_model_for(source.path, images, factory=read_factory(source.factory))
        except BvverifyError as error:
            problems.append(f"{name}: {error}")
            continue
        for target in targets(plan):
            try:
                subject = Subject(deployed, target=target, reproducers=reproducers)
                section = Section(plan, subject, shaped, name=name)
            except (NotExact, InputError, UnsupportedLayer) as error:
                problems.append(f"{name} on {target}: {error}")
            else:
                yield section


def model_name(source: ModelSource, plan: Plan) -> str:
    """Return what reports call a model: its file's name, or its path if another model's file has the same name."""
    namesakes = [other for other in plan.models if other.path.name == source.path.name]
    return source.path.name if len(namesakes) == 1 else str(source.path)
