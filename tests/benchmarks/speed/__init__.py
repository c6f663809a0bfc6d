"""How much a token costs, and how long it takes: one command, one table.

python -m tests.benchmarks.speed
    starts Redis, a fake model, this backend (in one process, and with two workers), and
    a floor to compare with; measures all of it in turn, several times; takes ten minutes

python -m tests.benchmarks.speed --quick
    once, and less of it; one minute

python -m tests.benchmarks.speed --url http://127.0.0.1:3000 --pid 4711 --endpoint-port 8081
    measures another backend with the same contract, which runs with
    OPENAI_BASE_URL=http://127.0.0.1:8081/v1
"""
