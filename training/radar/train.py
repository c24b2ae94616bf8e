"""The training loop: windows in, members out; resumable to the bit, variances scaled on people who were not learned.

Members are kept by name in ``OUT/members`` and made once: runs into one folder share those that they have in common,
so leaving one subject out after another costs less than each by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fusion.estimators.radar.packing import RadarWeights
from fusion.records import Array
from training.radar.judge import Answer, runtime, sigma_scale
from training.radar.model import Outputs, PointNetwork
from training.radar.recordings import SUBJECTS, Clip, read_clips
from training.radar.windows import Variation, Window, draw, mean_pose_m, truth_offset_m

CHECKPOINT = "checkpoint.pt"
MEMBERS = "members"
_CLIP = 1.0
"""Norm that gradients are cut to."""
_ERROR_WEIGHT, _SPREAD_WEIGHT = 10.0, 0.1
"""Of the mean absolute error in metres and of the variances' likelihood in a step's loss."""
_BETAS = (0.9, 0.98)

Split = Literal["official", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one training run."""

    split: Split = "all"
    """``official``: learn from the train frames (of subject 1, whose train frames have no joints here, the validate
    frames) and scale variances on the validate frames. ``all``: learn from every frame with joints."""
    leave_out: tuple[int, ...] = ()
    """Subjects that nothing is learned from."""
    members: int = 2
    hidden: int = 192
    pooled: int = 96
    dropout: float = 0.2
    steps: int = 500
    """Of each member."""
    judge_steps: int = 300
    """Of each network that leaves one more subject out, to scale deviations by how wrong it is there."""
    lanes: int = 32
    frames: int = 64
    """Of a window, through which gradients flow."""
    points: int = 36
    """Drawn of a frame."""
    rate: float = 2e-3
    """Of Adam after ``warm_steps``; falls to zero along a cosine."""
    warm_steps: int = 50
    decay: float = 0.02
    averaged: float = 0.995
    """Weights are averaged over the steps with this memory."""
    seed: int = 1
    checkpoint_every: int = 50
    threads: int = 1
    half: bool = True
    """Products in bfloat16, weights and sums in float32."""
    variation: Variation = field(default_factory=Variation)

    @property
    def subjects(self) -> tuple[int, ...]:
        """Who is learned from."""
        return tuple(subject for subject in SUBJECTS if subject not in self.leave_out)


Progress = Callable[[int, int, dict[str, float]], None]
"""Told the steps done, those to do in all, and the figures of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network to be made: who and what it learns from, and its seed."""

    split: Split
    subjects: tuple[int, ...]
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.split}-{''.join(str(subject) for subject in self.subjects)}-steps{self.steps}-seed{self.seed}"


def plan(settings: Settings) -> tuple[list[Member], dict[int, Member]]:
    """The members that answer, and by subject those that had not seen it and tell how wrong they are on it."""

    def member(subjects: tuple[int, ...], steps: int, k: int) -> Member:
        return Member(split=settings.split, subjects=subjects, steps=steps, seed=1000 * settings.seed + k)

    answering = [member(settings.subjects, settings.steps, k) for k in range(settings.members)]
    if settings.split == "official" or len(settings.subjects) < 2:
        return answering, {}
    return answering, {
        subject: member(tuple(other for other in settings.subjects if other != subject), settings.judge_steps, 0)
        for subject in settings.subjects
    }


def learned_clips(clips: Sequence[Clip], member: Member) -> list[Clip]:
    """What a member learns from."""
    found = [clip for clip in clips if clip.subject in member.subjects]
    if member.split == "all":
        return found
    return [clip for clip in found if clip.part == ("validate" if clip.subject == 1 else "train")]


def validation_clips(clips: Sequence[Clip]) -> list[Clip]:
    """What the official split's variances are scaled on and its settings were chosen by."""
    return [clip for clip in clips if clip.part == "validate" and clip.subject != 1]


def train(settings: Settings, data: Path, out: Path, progress: Progress, *, resume: bool = False) -> RadarWeights:
    """Train what is not there yet, and return the members together, their deviations scaled.

    Args:
        settings: of the run.
        data: the data pack's folder.
        out: folder for checkpoint and members; made if missing.
        progress: told of every step.
        resume: go on from the checkpoint in ``out``.

    Raises:
        FileNotFoundError: the data pack lacks a recording.
        ValueError: a checkpoint or member is of other settings, or every subject is left out.
    """
    if not settings.subjects:
        raise ValueError(f"all subjects are left out; leave some of {', '.join(map(str, SUBJECTS))}")
    torch.set_num_threads(settings.threads)
    (out / MEMBERS).mkdir(parents=True, exist_ok=True)
    clips = read_clips(data, settings.subjects)
    answering, judging = plan(settings)
    every = list(dict.fromkeys([*answering, *judging.values()]))
    missing = [member for member in every if not _file(out, member).is_file()]
    total, done = sum(member.steps for member in missing), 0
    for member in missing:
        run = MemberRun(settings, member, learned_clips(clips, member), out)
        run.go(lambda step, figures, done=done: progress(done + step, total, figures), resume=resume)  # type: ignore[misc]
        done += member.steps
    made = weights_of([_kept(settings, out, member) for member in answering])
    return with_scale(made, _scale(settings, clips, out, made, judging))


def _scale(
    settings: Settings, clips: Sequence[Clip], out: Path, made: RadarWeights, judging: dict[int, Member]
) -> Array:
    """What deviations are multiplied by [2, 3], from frames that were not learned from."""
    if judging:
        judges = [(weights_of([_kept(settings, out, member)]), subject) for subject, member in judging.items()]
        asked = [(weights, [clip for clip in clips if clip.subject == subject]) for weights, subject in judges]
    else:
        asked = [(made, validation_clips(clips) if settings.split == "official" else [])]
    judged = [clip for _, found in asked for clip in found]
    if not judged:
        return np.ones((2, 3))
    scales = []
    for followed in (False, True):
        answers: list[Answer] = []
        for weights, found in asked:
            tell = runtime(weights, followed=followed)
            answers += [tell(clip) for clip in found]
        scales.append(sigma_scale(judged, answers))
    return np.array(scales)


class MemberRun:
    """One member: network, average, optimiser, chance."""

    def __init__(self, settings: Settings, member: Member, clips: Sequence[Clip], out: Path) -> None:
        self.settings, self.member, self.clips, self.out = settings, member, clips, out
        torch.manual_seed(member.seed)
        self.random = np.random.default_rng(member.seed)
        self.network = PointNetwork(settings.hidden, settings.pooled, settings.dropout)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.mean_pose = torch.from_numpy(mean_pose_m(clips))
        self.offset = truth_offset_m(clips)
        matrices = [value for value in self.network.parameters() if value.ndim > 1]
        others = [value for value in self.network.parameters() if value.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.decay, betas=_BETAS)

    def go(self, progress: Callable[[int, dict[str, float]], None], *, resume: bool) -> None:
        """Train to the end and keep the member; the checkpoint is gone then."""
        s = self.settings
        first = self._resume() if resume else 0
        for step in range(first, self.member.steps):
            window = draw(
                self.clips, self.random, self.offset, s.variation, lanes=s.lanes, frames=s.frames, points=s.points
            )
            figures = self.step(step, window)
            if (step + 1) % s.checkpoint_every == 0:
                self._save(step + 1)
            progress(step + 1, figures)
        _write(
            _file(self.out, self.member),
            {"settings": comparable(s), "network": self.average, "mean_pose": self.mean_pose,
             "offset": torch.from_numpy(self.offset)},
        )  # fmt: skip
        (self.out / CHECKPOINT).unlink(missing_ok=True)

    def step(self, step: int, window: Window) -> dict[str, float]:
        """One update by one window."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(step, self.member.steps, self.settings)
        points, present, frames, joints, valid = (
            torch.from_numpy(np.ascontiguousarray(getattr(window, name))) for name in Window.__dataclass_fields__
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.settings.half):
            outputs = self.network(points, present, frames)
        losses = losses_of(outputs, joints - self.mean_pose.flatten(), valid)
        loss = _ERROR_WEIGHT * losses["error_m"] + _SPREAD_WEIGHT * losses["spread"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        memory = min(self.settings.averaged, (step + 1) / (step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1.0 - memory)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _save(self, step: int) -> None:
        _write(
            self.out / CHECKPOINT,
            {
                "step": step, "member": self.member.name, "settings": comparable(self.settings),
                "network": self.network.state_dict(), "average": self.average,
                "optimiser": self.optimiser.state_dict(), "torch": torch.get_rng_state(),
                "numpy": json.dumps(self.random.bit_generator.state),
            },
        )  # fmt: skip

    def _resume(self) -> int:
        """Take the checkpoint in, if it is of this member, and return its step."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            return 0
        kept = torch.load(path, weights_only=True)
        _refuse_others(path, kept["settings"], self.settings)
        if kept["member"] != self.member.name:
            return 0
        self.network.load_state_dict(kept["network"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.average = kept["average"]
        torch.set_rng_state(kept["torch"])
        self.random.bit_generator.state = json.loads(kept["numpy"])
        return int(kept["step"])


def losses_of(outputs: Outputs, truth: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Mean absolute error, and how badly the variances tell of the errors, which are not changed by it.

    The latter is the negative logarithm of the normal density of the errors (Nix and Weigend, "Estimating the mean and
    variance of the target probability distribution", ICNN 1994), less its constant.
    """
    errors = (outputs.differences.float() - truth).abs()
    spread = outputs.log_variances.float()
    counted = valid[..., None].float()
    count = counted.sum().clamp(min=1) * truth.shape[-1]
    density = 0.5 * (errors.detach().square() * torch.exp(-spread) + spread)
    return {"error_m": (errors * counted).sum() / count, "spread": (density * counted).sum() / count}


def rate_at(step: int, steps: int, settings: Settings) -> float:
    """Learning rate: a linear start, then a cosine down to zero after ``steps``."""
    warm = min(1.0, (step + 1) / max(settings.warm_steps, 1))
    return settings.rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def comparable(settings: Settings) -> dict[str, Any]:
    """Settings that make a member what it is."""
    values = asdict(settings)
    for name in (
        "split",
        "leave_out",
        "members",
        "steps",
        "judge_steps",
        "seed",
        "threads",
        "half",
        "checkpoint_every",
    ):
        del values[name]
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def weights_of(kept: Sequence[dict[str, Any]]) -> RadarWeights:
    """Members as kept, together, in the runtime's form; deviations not scaled."""
    names = kept[0]["network"]
    arrays = {name: torch.stack([member["network"][name] for member in kept]).float().numpy() for name in names}
    arrays["mean_pose_m"] = kept[0]["mean_pose"].numpy()
    arrays["truth_offset_m"] = kept[0]["offset"].numpy()
    arrays["sigma_scale"] = np.ones((2, 3), dtype=np.float32)
    return RadarWeights.from_arrays(arrays)


def with_scale(weights: RadarWeights, scale: Array) -> RadarWeights:
    """The same, deviations multiplied by ``scale`` [2, 3]."""
    return replace(weights, arrays={**weights.arrays, "sigma_scale": np.asarray(scale, dtype=np.float32)})


def _file(out: Path, member: Member) -> Path:
    return out / MEMBERS / f"{member.name}.pt"


def _kept(settings: Settings, out: Path, member: Member) -> dict[str, Any]:
    path = _file(out, member)
    kept: dict[str, Any] = torch.load(path, weights_only=True)
    _refuse_others(path, kept["settings"], settings)
    return kept


def _refuse_others(path: Path, made_with: dict[str, Any], settings: Settings) -> None:
    differing = [key for key, value in comparable(settings).items() if made_with.get(key) != value]
    if differing:
        raise ValueError(
            f"{path} was made with other settings: {', '.join(differing)}; give the same ones or another folder"
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".part")
    torch.save(content, partial)
    partial.replace(path)
