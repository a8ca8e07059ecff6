"""The alloy campaign, for every test of the report."""

from tests.loop.alloy_campaign import alloys

__all__ = ["alloys"]
