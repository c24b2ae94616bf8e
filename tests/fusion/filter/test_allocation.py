"""Kernels that run for every measurement make no arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]

from fusion.body.kinematics import TABLES
from fusion.filter.measurements.anatomy import AnatomyParams, anatomy_rows, make_anatomy
from fusion.filter.measurements.landmarks import (
    landmark2d_rows,
    landmark3d_rows,
    placed_landmarks,
    stack_cameras,
)
from fusion.filter.process import ProcessParams, make_process, predict_kernel
from fusion.filter.smoother import matrix_through_update, transposed_rows, vector_through_update
from fusion.filter.update import (
    MEASUREMENT_SPACE,
    STATE_SPACE,
    downdate,
    keep_information,
    linearise,
    make_information,
    solve_step,
)
from tests.fusion.scenes import landmarks_of, measured_2d, random_state, ring, seen_from, updater

Call = tuple[Any, tuple[Any, ...]]


@njit
def nothing(*args: Any) -> None:
    """To count what it costs to hand arrays over."""


def calls() -> dict[str, Call]:
    """Each kernel with its arguments, on the state of somebody whom a camera sees; in an order that makes sense."""
    state, work = random_state(np.random.default_rng(1)), updater()
    camera, size = ring(1)[0], len(state.nominal)
    view = measured_2d(camera, seen_from(camera, state.nominal))
    placed, body, system, w = placed_landmarks(view.placed), work.body, work.system, work.work
    points = landmarks_of("blazepose_33", state.nominal)
    nominal, covariance, error = state.nominal.copy(), state.covariance.copy(), np.zeros(size)
    matrix, vector, room, product = np.eye(size), np.ones(size), np.zeros((4, size * size)), np.zeros(size)
    process, anatomy, information = make_process(ProcessParams()), make_anatomy(AnatomyParams()), make_information(size)
    variance, cameras = np.full((1, 33), 9.0), stack_cameras((view.camera,))

    def solve(space: int) -> Call:
        return solve_step, (system, state.covariance, w, True, work.robust, space)

    return {
        "linearise": (linearise, (TABLES, nominal, body, system)),
        "landmark2d_rows": (landmark2d_rows, (TABLES, body, system, cameras, placed, view.pixels[None], variance)),
        "landmark3d_rows": (landmark3d_rows, (TABLES, body, system, placed, points, np.full(33, 1e-4))),
        "anatomy_rows": (anatomy_rows, (TABLES, nominal, covariance, anatomy, system)),
        "state space": solve(STATE_SPACE),
        "keep_information": (keep_information, (system, w, information)),
        "downdate after state space": (downdate, (covariance, w)),
        "measurement space": solve(MEASUREMENT_SPACE),
        "downdate after measurement space": (downdate, (covariance, w)),
        "predict_kernel": (predict_kernel, (TABLES, nominal, covariance, process, 0.01, error)),
        "vector_through_update": (vector_through_update, (information, covariance, vector, product)),
        "matrix_through_update": (matrix_through_update, (information, covariance, matrix, room)),
        "transposed_rows": (transposed_rows, (TABLES, process, 0.01, error, matrix)),
    }


def made(kernel: Any, args: tuple[Any, ...]) -> int:
    """How many arrays a call has made, those that stand for its arguments among them."""
    before = rtsys.get_allocation_stats().alloc  # type: ignore[no-untyped-call]
    kernel(*args)
    return int(rtsys.get_allocation_stats().alloc - before)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def allocations() -> Iterator[dict[str, int]]:
    """How many arrays each kernel makes when all is compiled."""
    _nrt_python.memsys_enable_stats()
    every = calls()
    for kernel, args in every.values():
        kernel(*args)
        nothing(*args)
    yield {name: made(kernel, args) - made(nothing, args) for name, (kernel, args) in every.items()}
    _nrt_python.memsys_disable_stats()


def test_nothing_is_allocated(allocations: dict[str, int]) -> None:
    assert {name: count for name, count in allocations.items() if count} == {}


def test_what_is_allocated_is_counted(allocations: dict[str, int]) -> None:
    @njit
    def makes_one(values: Any) -> Any:
        return (values + 1.0).sum()

    values = np.ones(5)
    makes_one(values)
    nothing(values)
    assert allocations
    assert made(makes_one, (values,)) - made(nothing, (values,)) == 1
