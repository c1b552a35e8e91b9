"""``--testbed auto``: the best lab that runs every path of the profile's question."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.path import DataPath
from harness.events import Events
from harness.measuring.opened import Wanted, open_testbed
from harness.profile import CryptoSuite, Profile
from harness.run import feasible
from hosts.errors import HarnessError
from hosts.facts import Facts
from hosts.lab import best
from hosts.lab.best import Choice
from hosts.testbed import AutoTestbed, LabTestbed


def choose(
    auto: AutoTestbed,
    profile: Profile,
    paths: Mapping[str, DataPath],
    events: Events,
    builds: frozenset[str],
    receiver_builds: frozenset[str],
) -> Choice:
    """The lab for a profile. A better one than that which runs everywhere is booted once, to ask what it lacks."""

    def lacks(spec: LabTestbed) -> str | None:
        try:
            wanted = Wanted(builds, receiver_builds, masked=profile.instructions == "masked")
            with open_testbed(spec, events, wanted) as opened:
                return lacking(profile, paths, opened.sender_facts, opened.receiver_facts)
        except HarnessError as error:
            return error.what

    return best.choose(auto, events.progress, lacks)


def lacking(profile: Profile, paths: Mapping[str, DataPath], sender: Facts, receiver: Facts) -> str | None:
    """Why a path of the profile's question (of all suites, where it has none) cannot run on these hosts. Pure."""
    asked = profile.question
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite) or (asked and suite.name not in asked.suites):
            continue
        for name in (asked.candidate, asked.baseline) if asked else suite.paths:
            path = paths[name]
            if path.impossible(feasible.parameters(path, suite, sender)):
                continue  # nowhere
            if reason := feasible.why_not(path, feasible.parameters(path, suite, sender), sender, receiver):
                return f"{name} cannot run there: {reason}"
    return None
