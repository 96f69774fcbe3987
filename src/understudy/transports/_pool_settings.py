"""What a pool is told once."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy.exceptions import MissingExtra

__all__ = ["PoolSettings"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=True)]
Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PoolSettings(BaseModel):
    """Bounds of a pool. All times are in seconds on the event loop's clock; ``math.inf`` is never.

    Raises:
        pydantic.ValidationError: For a bad value or an unknown name; says which, and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_size: Annotated[int, Field(ge=1)] = 10
    """How many connections there may be, counting those that are being opened or closed."""
    min_idle: Annotated[int, Field(ge=0)] = 0
    """So many are kept ready beside those that are lent, as far as *max_size* allows."""
    acquire_timeout: Seconds = 30.0
    """How long a borrower waits when it does not say."""
    connect_timeout: Finite = 10.0
    """How long the factory may take for a connection."""
    check_timeout: Finite = 5.0
    """How long a health check may take; one that takes longer has failed."""
    check_after: Annotated[float, Field(ge=0, allow_inf_nan=True)] = 10.0
    """What was not seen in order for so long is checked before it is lent; 0: each time."""
    check_interval: Seconds = 60.0
    """What was not seen in order for so long is checked while it is idle."""
    idle_timeout: Seconds = 600.0
    """What was idle for so long is closed, unless fewer than *min_idle* would be left."""
    max_lifetime: Seconds = 3600.0
    """What has lived for so long is closed when it is not lent."""
    lifetime_jitter: Annotated[float, Field(ge=0, le=1)] = 0.1
    """By how much of itself each lifetime is shortened at most, by chance, so that not all end at the same time."""
    close_timeout: Finite = 5.0
    """How long the closing of one connection may take."""
    grace: Annotated[float, Field(ge=0, allow_inf_nan=True)] = 5.0
    """How long `close` waits for what is lent before it closes that too."""
    cancel_interval: Finite = 0.1
    """A factory, check or close that resists a cancel is cancelled again after this time, and again."""
    abandon_after: Finite = 1.0
    """One that has resisted for so long is abandoned: counted, reported, left to itself."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_idle > self.max_size:
            raise ValueError(f"min_idle ({self.min_idle}) must not be more than max_size ({self.max_size})")
        return self

    @classmethod
    def from_environment(cls, prefix: str = "UNDERSTUDY_POOL_", **overrides: Any) -> Self:
        """Read what is set in environment variables, such as ``UNDERSTUDY_POOL_MAX_SIZE=20``; the rest as ever.

        Args:
            prefix: What their names begin with, in front of the name of the setting; upper and lower case are the same.
            overrides: Settings that are no matter of the environment.

        Raises:
            MissingExtra: pydantic-settings is not installed.
            pydantic.ValidationError: For a bad value; says which, and what is allowed.
        """
        try:
            from pydantic_settings import BaseSettings, SettingsConfigDict  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra(
                what="PoolSettings.from_environment", package="pydantic-settings", extra="settings"
            ) from error

        class FromEnvironment(BaseSettings, cls):  # type: ignore[valid-type, misc]  # pyright: ignore[reportIncompatibleVariableOverride]
            model_config = SettingsConfigDict(extra="forbid", env_prefix=prefix)

        found = FromEnvironment(**overrides)
        return cls(**found.model_dump(exclude_unset=True))
