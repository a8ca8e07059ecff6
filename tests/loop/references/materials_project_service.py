"""A service on loopback that speaks the part of the Materials Project's API that reference phases need.

It answers as the real one does: heartbeat, keys in the `x-api-key` header, and summary documents (emmet's
`SummaryDoc`) filtered by the query and cut into pages. The documents are of our own making.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

KEY = "0123456789abcdef0123456789abcdef"


def document(identifier, structure, *, above_hull=0.0, theoretical=False, icsd=(), energy=-3.0):
    composition = structure.composition
    return {
        "material_id": identifier,
        "structure": structure.as_dict(),
        "chemsys": "-".join(sorted(e.symbol for e in composition.elements)),
        "nsites": len(structure),
        "energy_per_atom": energy,
        "energy_above_hull": above_hull,
        "theoretical": theoretical,
        "database_IDs": {"icsd": [f"icsd-{number}" for number in icsd]} if icsd else {},
        "deprecated": False,
    }


def cubic(*symbols, a=3.0):
    corners = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]]
    return Structure(Lattice.cubic(a), list(symbols), corners[: len(symbols)])


DOCUMENTS = [
    document("mp-1", cubic("Ni", a=2.3), icsd=(1, 2)),
    document("mp-2", cubic("Ti", a=2.7)),
    document("mp-3", cubic("Ti", "Ni"), icsd=(3,)),
    document("mp-4", cubic("Ti", "Ni", "Ni", "Ni", a=3.6), above_hull=0.04, theoretical=True),
    document("mp-5", cubic("Ti", "Ti", "Ni", "Ni", a=3.7), above_hull=0.3, theoretical=True),
    document("mp-6", cubic("Sn", a=3.1)),
]


class Service:
    """What the service holds, what goes wrong with it, and what it was asked."""

    def __init__(self, documents=DOCUMENTS):
        self.documents = list(documents)
        self.version = "2026.10.01"
        self.failures: list[tuple[int, dict]] = []
        """Status and body of the next answers to searches, before it works."""
        self.heartbeat_failures: list[int] = []
        self.queries: list[dict[str, str]] = []
        self.endpoint = ""

    def search(self, query):
        """One page of the documents that fit, and how many fit."""
        systems = set(query["chemsys"].split(","))
        fitting = [
            d
            for d in self.documents
            if d["chemsys"] in systems
            and d["energy_above_hull"] <= float(query["energy_above_hull_max"])
            and d["nsites"] <= int(query["nsites_max"])
            and ("theoretical" not in query or d["theoretical"] == (query["theoretical"] == "True"))
        ]
        skip, limit = int(query.get("_skip", 0)), int(query["_limit"])
        fields = query["_fields"].split(",")
        page = [{k: v for k, v in d.items() if k in fields} for d in fitting[skip : skip + limit]]
        return {"data": page, "meta": {"total_doc": len(fitting), "api_version": "0.86.3"}}


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Serve on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            if url.path == "/heartbeat":
                if service.heartbeat_failures:
                    self.answer(service.heartbeat_failures.pop(0), {"message": "no"})
                else:
                    self.answer(
                        200,
                        {
                            "status": "OK",
                            "version": "0.86.3",
                            "db_version": service.version,
                            "access_controlled_batch_ids": [],
                        },
                    )
            elif url.path == "/materials/summary/":
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                service.queries.append(query)
                if self.headers["x-api-key"] != KEY:
                    self.answer(401, {"message": "Unauthorized"})
                elif service.failures:
                    self.answer(*service.failures.pop(0))
                else:
                    self.answer(200, service.search(query))
            else:
                self.answer(404, {"detail": "Not Found"})

        def answer(self, status, body):
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments):
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.endpoint = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
