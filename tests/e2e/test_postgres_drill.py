"""Several command servers on one PostgreSQL, whatever breaks: nothing lost, doubled or out of order."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster.drill import Drill, Scale, Ways
from tests.e2e.cluster.processes import a_cluster
from tests.e2e.cluster.spread import channels
from tests.e2e.drill.report import table

FULL = os.environ.get("TWOFOLD_DRILL") == "full"
SCALES = (
    [Scale(2, 200_000, 60, 3, 12, 2, 100), Scale(4, 1_000_000, 120, 4, 12, 3, 100)]
    if FULL
    else [Scale(2, 1_500, 9, 0.5, 6, 1, 5), Scale(4, 1_500, 9, 0.5, 6, 1, 5)]
)
SECONDS = 3600 if FULL else 300

pytestmark = [pytest.mark.drill, pytest.mark.postgres, pytest.mark.timeout(SECONDS)]


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"{scale.servers}-servers")
async def test_nothing_is_lost_doubled_or_out_of_order_among_several_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any, scale: Scale
) -> None:
    seed, began = random.randrange(2**32), time.monotonic()
    record_property("seed", seed)
    async with a_cluster(tmp_path, servers=scale.servers) as cluster:
        await cluster.start()
        async with channels([*cluster.addresses, cluster.system.query_address]) as [*servers, queries]:
            drill = Drill(cluster, Ways(servers, queries, random.Random(seed)), scale, seed)
            log = await drill.run()
            faults = await drill.findings(log)
        assert await cluster.stop() == [0] * scale.servers
    done = drill.counts(log) | {"seconds": round(time.monotonic() - began), "seed": seed}
    with capsys.disabled():
        print(table(f"{scale.servers} command servers on one PostgreSQL", done, faults))  # noqa: T201
    assert not any(faults.values()), (faults, drill.journal.contradictions[:10], drill.disputes[:10])
