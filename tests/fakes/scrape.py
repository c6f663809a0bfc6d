"""Reading what a process says about itself, as Prometheus would."""

from collections.abc import Iterable

from aiohttp import ClientSession
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.runtime.metrics import PREFIX, Metrics


class Scrape:
    """The samples of one scrape, or of several together."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)

    @classmethod
    def parse(cls, text: str) -> "Scrape":
        """Read an exposition, with Prometheus's own parser."""
        return cls(text_string_to_metric_families(text))

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {sample.name for family in self.families for sample in family.samples}

    def total(self, name: str, **labels: str) -> float:
        """The sum of one of our metrics over all series with these labels."""
        return sum(self.series(name, **labels).values())

    def series(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The values of one of our metrics by all their labels, where these are among them."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == f"{PREFIX}_{name}" and labels.items() <= sample.labels.items()
        }

    def processes(self) -> dict[str, float]:
        """Which processes there are, and whether they are up."""
        return {
            sample.labels["process"]: sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == f"{PREFIX}_process_up"
        }


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    """The value of one of our metrics in a process that is not scraped."""
    return Scrape(metrics.registry.collect()).total(name, **labels)


async def scrape(*urls: str) -> Scrape:
    """Scrape processes at these addresses; what they say is taken together."""
    families: list[Metric] = []
    async with ClientSession(raise_for_status=True) as http:
        for url in urls:
            async with http.get(f"{url}/metrics") as response:
                families += Scrape.parse(await response.text()).families
    return Scrape(families)
