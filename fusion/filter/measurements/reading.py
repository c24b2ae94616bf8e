"""Another reading of what has been seen: some joints stand elsewhere than was believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion.body.kinematics import TABLES, body_forward, body_rates
from fusion.filter.state import RATE_COLUMN, State
from fusion.filter.system import Body, System
from fusion.records import Float64, Int64


@dataclass(frozen=True, slots=True, eq=False)
class NewReading:
    """Puts coordinates where somebody has found that they are, and forgets what was believed of them.

    It is no measurement that could be weighed, but it is told to the filter as one, so
    that it has its place in time among them and their order of arrival does not matter.
    """

    time_ns: int
    columns: Int64
    """[C] coordinates."""
    values: Float64
    """[C] rad."""
    sigma_rad: float
    """Standard deviation of each of them from now on."""
    rate_rad_s: float
    """Standard deviation of their rates, which begin at zero."""
    source: str = ""
    """Before all others of its time."""

    @property
    def linear(self) -> bool:
        """See ``Measurement``."""
        return True

    def add_rows(self, state: State, nominal: Float64, body: Body, system: System) -> None:
        """Change ``state`` and the linearisation point, in place; no row."""
        if not np.array_equal(nominal, state.nominal):
            return  # A later iteration.
        self._put(state)
        nominal[:] = state.nominal
        # Those who come after it see the body as it is now.
        body_forward(TABLES, nominal, body.lengths_m, body.positions, body.quaternions, body.axes_world)
        rates = nominal[RATE_COLUMN:]
        body_rates(TABLES, rates, body.positions, body.axes_world, body.velocities, body.angular_rates)

    def _put(self, state: State) -> None:
        rates = RATE_COLUMN + self.columns
        state.nominal[self.columns] = self.values
        state.nominal[rates] = 0.0
        for columns, sigma in ((self.columns, self.sigma_rad), (rates, self.rate_rad_s)):
            state.covariance[columns, :] = 0.0
            state.covariance[:, columns] = 0.0
            state.covariance[columns, columns] = sigma**2

    def learn(self, state: State, system: System) -> None:
        """Nothing is remembered."""
