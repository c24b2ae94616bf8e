"""The linear system of a measurement, as the tests look at it."""

from __future__ import annotations

from fusion.body.kinematics import TABLES
from fusion.filter.measurements.anatomy import AnatomyParams, anatomy_rows, make_anatomy
from fusion.filter.measurements.rows import Body, Measurement, Rows, make_body, make_rows
from fusion.filter.state import State
from fusion.filter.update import linearise
from fusion.records import Float64


class LimitsAndRest:
    """What is known of every body, in the shape of a measurement."""

    time_ns, source, linear = 0, "anatomy", False

    def __init__(self, prior_covariance: Float64, params: AnatomyParams | None = None) -> None:
        self.anatomy = make_anatomy(params or AnatomyParams())
        self.covariance = prior_covariance

    def add_rows(self, state: State, nominal: Float64, body: Body, rows: Rows) -> None:
        anatomy_rows(TABLES, nominal, self.covariance, self.anatomy, rows)

    def learn(self, state: State, weights: Float64, rows: Rows) -> None: ...


class System:
    """The rows of some measurements at one linearisation point."""

    def __init__(self, state: State, *measurements: Measurement, nominal: Float64 | None = None) -> None:
        body, rows = make_body(), make_rows()
        nominal = state.nominal if nominal is None else nominal
        linearise(TABLES, nominal, body, rows)
        for measurement in measurements:
            measurement.add_rows(state, nominal, body, rows)
        self.count = int(rows.filled[0])
        self.jacobian = rows.jacobian[: self.count]
        self.residual = rows.residual[: self.count]
        self.variance = rows.variance[: self.count]
        self.block = rows.block[: self.count]
        self.robust = rows.robust[: self.count]
        self.source = rows.source[: self.count]
