"""Which of several processes this one is."""

import http.server
import socket
import threading

import pytest

from research.devices.discovery import Processes, find
from research.errors import UsageError

OURS = {"JAX_COORDINATOR_ADDRESS": "host:12", "JAX_NUM_PROCESSES": "5", "JAX_PROCESS_ID": "3"}
SLURM = {"SLURM_STEP_NUM_TASKS": "7", "SLURM_NTASKS": "7", "SLURM_PROCID": "2"}
POD = {"TPU_WORKER_HOSTNAMES": "a,b,c"}


@pytest.mark.parametrize(
    ("given", "environment", "tpu", "found"),
    [
        (Processes(), {}, False, None),
        (Processes(), {"SLURM_NTASKS": "7", "SLURM_PROCID": "0"}, False, None),  # a batch script
        (Processes(), {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, False, None),
        (Processes(), POD, False, None),  # no TPU here
        (Processes(), {"TPU_WORKER_HOSTNAMES": "localhost"}, True, None),
        (Processes(), {"TPU_SKIP_MDS_QUERY": "1"}, True, None),
        (Processes(), POD, True, Processes()),
        (Processes(), {"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True, Processes()),
        (Processes(), SLURM, False, Processes()),
        (Processes(), SLURM | POD, True, Processes()),
        (Processes(), SLURM | {"JAX_COORDINATOR_ADDRESS": "host:12"}, False, Processes("host:12")),
        (Processes(), OURS | SLURM, False, Processes("host:12", 5, 3)),
        (Processes("[::1]:34", 2, 0), OURS | SLURM, False, Processes("[::1]:34", 2, 0)),
    ],
)
def test_find(given, environment, tpu, found):
    assert find(given, environment, tpu) == found


@pytest.mark.parametrize(
    ("given", "environment", "named"),
    [
        (Processes("host:12"), OURS, "--processes.coordinator needs --processes.count and --processes.index too"),
        (Processes(count=2, index=0), {}, "--processes.count and --processes.index needs --processes.coordinator too"),
        (Processes("host", 2, 0), {}, '--processes.coordinator must be HOST:PORT, not "host"'),
        (Processes("host:12", 2, 2), {}, "--processes.index must be less than the number of processes, 2, not 2"),
        (Processes("host:12", 2, -1), {}, 'must be a number from 0 on, not "-1"'),
        (Processes(), OURS | {"JAX_NUM_PROCESSES": "two"}, 'JAX_NUM_PROCESSES must be a number from 0 on, not "two"'),
        (Processes(), {"JAX_COORDINATOR_ADDRESS": "host:12"}, "needs JAX_NUM_PROCESSES and JAX_PROCESS_ID too"),
    ],
)
def test_what_is_missing_or_wrong(given, environment, named):
    with pytest.raises(UsageError) as error:
        find(given, environment, tpu=False)
    assert named in str(error.value)


@pytest.mark.parametrize(("endpoints", "several"), [("x:x:10.0.0.1,x:x:10.0.0.2", True), ("host", False)])
def test_a_tpu_host_asks_who_the_others_are(endpoints, several):
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            right = self.path.endswith("/attributes/worker-network-endpoints") and self.headers["Metadata-Flavor"]
            self.send_response(200 if right else 404)
            self.end_headers()
            self.wfile.write(endpoints.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = find(Processes(), {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}, tpu=True)
        thread.join()
    assert found == (Processes() if several else None)


def test_a_host_without_that_service_does_not_wait_for_it():
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert find(Processes(), {"GCE_METADATA_IP": f"127.0.0.1:{silent.getsockname()[1]}"}, tpu=True) is None
