"""The settings: visible defaults, and bad values that are named at the start."""

import json
import re
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from backend.settings import SYSTEM_PROMPT, Settings, SettingsError

PRIVATE = "sk-do-not-show-this"
EXAMPLE = Path(__file__).resolve().parents[1] / ".env.example"
NAMES = [setting.name.upper() for setting in fields(Settings)]
NUMBERS = [setting for setting in fields(Settings) if setting.type in (int, float)]


def refusal(**env: str) -> str:
    """What is said about this environment."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(env)
    return str(refused.value)


def test_defaults() -> None:
    """Without any variable, every setting has the default that is documented."""
    assert Settings.from_env({}) == Settings(
        openai_api_key="",
        openai_organization="",
        redis_url="",
        openai_base_url="",
        openai_model="gpt-6-luna",
        model="",
        openai_reasoning_effort="",
        model_parameters="",
        system_prompt=SYSTEM_PROMPT,
        stream_reasoning=True,
        host="",
        port=3000,
        frontend_port=5400,
        openai_stream="OPENAI_STREAM",
        use_xread=True,
        max_topic_chars=200,
        max_question_chars=8_000,
        max_followed_per_socket=64,
        model_first_piece_timeout_s=300.0,
        model_thinking_timeout_s=600.0,
        model_idle_timeout_s=30.0,
        answer_timeout_s=1200.0,
        model_retries=2,
        worker_concurrency=500,
        max_attempts=3,
        lease_s=10.0,
        shutdown_grace_s=5.0,
        retention_s=86_400.0,
        log_format="text",
        log_level="info",
        worker_metrics_port=0,
    )


def test_values_are_read_from_the_environment() -> None:
    """Each kind of value is read from the variable of its name."""
    settings = Settings.from_env(
        {
            "OPENAI_API_KEY": PRIVATE,
            "REDIS_URL": "rediss://user:word@redis.example:6380/2",
            "OPENAI_BASE_URL": "http://localhost:11434/v1",
            "PORT": "8080",
            "LEASE_S": "2.5",
            "USE_XREAD": "true",
        }
    )
    assert settings.openai_api_key == PRIVATE
    assert settings.redis_url == "rediss://user:word@redis.example:6380/2"
    assert settings.openai_base_url == "http://localhost:11434/v1"
    assert (settings.port, settings.lease_s, settings.use_xread) == (8080, 2.5, True)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SYSTEM_PROMPT"])
@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_variable_counts_as_unset(name: str, empty: str) -> None:
    """A variable without a value, as .env files have them, leaves the default."""
    assert Settings.from_env({name: empty}) == Settings()


def test_an_empty_system_prompt_is_one() -> None:
    """Some models refuse the role, so that nothing can be said there."""
    assert Settings.from_env({"SYSTEM_PROMPT": ""}).system_prompt == ""


def test_blanks_around_a_value_do_not_count() -> None:
    """A value that was pasted with a line break at its end is the value without it."""
    settings = Settings.from_env({"OPENAI_API_KEY": f" {PRIVATE}\n", "PORT": " 80 "})
    assert (settings.openai_api_key, settings.port) == (PRIVATE, 80)


def test_other_variables_are_passed_over() -> None:
    """What is not ours in the environment is not read, and neither are small letters."""
    assert Settings.from_env({"PATH": "/bin", "LANG": "C", "port": "80"}) == Settings()


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("raw", ["many", "0x10", "1,5", "--1", "1 000", "nan", "inf", "-inf"])
def test_what_is_no_number_is_refused(setting: Any, raw: str) -> None:
    """A number has to be one, and a finite one; the message names the variable."""
    name = setting.name.upper()
    assert refusal(**{name: raw}).startswith(f"{name} has to be ")


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_numbers_have_bounds(setting: Any) -> None:
    """A number outside its bounds is refused, and the message says what they are."""
    name, low, high = setting.name.upper(), setting.metadata["low"], setting.metadata["high"]
    for outside in (low - 1, high + 1):
        message = refusal(**{name: str(outside)})
        assert message == f"{name} has to be between {low} and {high}, not {outside}"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_the_bounds_themselves_are_allowed(setting: Any) -> None:
    """A number may be as small or as large as its bounds, and the default lies between."""
    low, high = setting.metadata["low"], setting.metadata["high"]
    assert low <= setting.default <= high
    for bound in (low, high):
        settings = Settings.from_env({setting.name.upper(): str(bound)})
        assert getattr(settings, setting.name) == bound


@pytest.mark.parametrize("name", ["PORT", "MAX_ATTEMPTS"])
def test_a_count_has_no_fraction(name: str) -> None:
    """What is counted is a whole number."""
    assert refusal(**{name: "1.5"}) == f"{name} has to be a whole number, not '1.5'"


@pytest.mark.parametrize("raw", ["true", "TRUE", "True", "1", "yes"])
def test_true(raw: str) -> None:
    """A switch is on by any of the usual words."""
    assert Settings.from_env({"USE_XREAD": raw}).use_xread


@pytest.mark.parametrize("raw", ["on", "2", "truee", "none"])
def test_a_switch_is_on_or_off(raw: str) -> None:
    """A switch that is neither on nor off is refused by its name."""
    assert refusal(USE_XREAD=raw) == f"USE_XREAD has to be true or false, not '{raw}'"


@pytest.mark.parametrize("raw", ["json", "JSON"])
def test_a_choice_is_one_of_few_words(raw: str) -> None:
    """A word that is to be chosen may be in capitals."""
    assert Settings.from_env({"LOG_FORMAT": raw}).log_format == "json"


@pytest.mark.parametrize("name", ["LOG_FORMAT", "LOG_LEVEL"])
def test_other_words_are_refused(name: str) -> None:
    """What cannot be chosen is refused by the name of its setting, which says what can."""
    choices = next(each for each in fields(Settings) if each.name == name.lower()).metadata
    expected = f"{name} has to be {' or '.join(choices['choices'])}, not 'loud'"
    assert refusal(**{name: "loud"}) == expected


@pytest.mark.parametrize("raw", ["false", "0", "no", "FALSE"])
def test_consumer_groups_are_a_switch(raw: str) -> None:
    """Either mode of reading can be chosen."""
    assert not Settings.from_env({"USE_XREAD": raw}).use_xread


def test_names_of_consumer_groups_are_the_tutorials() -> None:
    """With consumer groups a stream is its user's, and ids of ours have the original's prefix."""
    groups, plain = Settings(use_xread=False), Settings()
    assert groups.streams.name("q", "ann") == "OPENAI_STREAM:ann"
    assert groups.streams.shared is None
    assert groups.question_id_prefix == "Q-"
    assert plain.streams.name("q", "ann") == plain.streams.shared == "OPENAI_STREAM"
    assert plain.question_id_prefix == ""


@pytest.mark.parametrize("name", ["answers", "a:{questionId}", "{userId}", "{userId}/{questionId}"])
def test_streams_may_be_many(name: str) -> None:
    """The stream's name may hold who asks, and what."""
    assert Settings.from_env({"OPENAI_STREAM": name}).openai_stream == name


@pytest.mark.parametrize("name", ["{user}", "a{", "{questionId}}", "{}"])
def test_other_braces_in_a_stream_name_are_refused(name: str) -> None:
    """A misspelt placeholder would put all answers into one stream with an odd name."""
    assert refusal(OPENAI_STREAM=name).startswith("OPENAI_STREAM is not a valid name")


def test_a_group_has_a_stream_of_its_own_kind() -> None:
    """With consumer groups each user has a stream, so that a pattern says nothing."""
    refused = refusal(USE_XREAD="false", OPENAI_STREAM="{questionId}")
    assert refused.startswith("OPENAI_STREAM is the beginning")


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        f"rediss://:{PRIVATE}@redis.example:6380",
        "redis://[::1]:6379",
        "unix:///run/redis.sock",
        f"unix://user:{PRIVATE}@/run/redis.sock?db=1",
    ],
)
def test_addresses_of_redis(url: str) -> None:
    """Redis is reached over TCP, TLS or a socket in the file system."""
    assert Settings.from_env({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("url", ["http://localhost", "https://api.example/v1", "http://[::1]:80"])
def test_addresses_of_models(url: str) -> None:
    """Any server that speaks OpenAI's protocol over HTTP will do."""
    assert Settings.from_env({"OPENAI_BASE_URL": url}).openai_base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "localhost:6379",
        "//localhost",
        "redis://",
        "redis:",
        "http://localhost:6379",
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://localhost:0",
        "redis://[::1",
        "redis:localhost:6379",
        "redis:/localhost",
        "REDIS://localhost",
    ],
)
def test_bad_addresses_of_redis(url: str) -> None:
    """An address that redis-py would not take is refused at the start, by its name."""
    assert refusal(REDIS_URL=url) == (
        "REDIS_URL is not a valid address: it has to start with redis:// or rediss:// or unix://"
    )


@pytest.mark.parametrize(
    "url",
    [
        "localhost",
        "localhost:8000/v1",
        "ftp://localhost",
        "http://",
        "https:api.example/v1",
        "https:///v1",
        "http://localhost:port/v1",
    ],
)
def test_bad_addresses_of_models(url: str) -> None:
    """An address that names no host, or is none of HTTP, is refused at the start, by its name."""
    assert refusal(OPENAI_BASE_URL=url) == (
        "OPENAI_BASE_URL is not a valid address: it has to start with http:// or https://"
    )


# Models


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("", "openai", "gpt-6-luna"),
        ("openai:gpt-6.1-sol", "openai", "gpt-6.1-sol"),
        ("anthropic:claude-x", "anthropic", "claude-x"),
        ("ollama:qwen3:8b", "ollama", "qwen3:8b"),
        ("google_genai:models/gemini-x", "google_genai", "models/gemini-x"),
    ],
)
def test_a_model_is_of_a_provider(model: str, provider: str, name: str) -> None:
    """MODEL names both; without it, OPENAI_MODEL names one of OpenAI's."""
    settings = Settings.from_env({"MODEL": model})
    assert (settings.model_provider, settings.model_name) == (provider, name)
    assert settings.model_setting == ("MODEL" if model else "OPENAI_MODEL")


@pytest.mark.parametrize("model", ["gpt-4", ":gpt-4", "openai:", "Open AI:x", "openai:a b"])
def test_a_model_without_a_provider_is_refused(model: str) -> None:
    """What may be read in two ways is refused, by the name of its setting."""
    assert refusal(MODEL=model).startswith("MODEL has to be <provider>:<name>")


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "xhigh"])
def test_efforts_are_words(effort: str) -> None:
    """Which of them a model takes, its provider knows."""
    settings = Settings.from_env({"OPENAI_REASONING_EFFORT": effort})
    assert settings.openai_reasoning_effort == effort


@pytest.mark.parametrize("effort", ["Low!", "2", "very high"])
def test_what_is_no_effort_is_refused(effort: str) -> None:
    """A slip of the pen is found at the start."""
    assert refusal(OPENAI_REASONING_EFFORT=effort).startswith("OPENAI_REASONING_EFFORT has to be")


@pytest.mark.parametrize("raw", ["{", "[]", "5", "null", '"x"', "{'a': 1}", "[" * 100_000])
def test_parameters_are_a_json_object(raw: str) -> None:
    """Anything else is refused by the name of its setting, without showing it."""
    message = refusal(MODEL_PARAMETERS=raw)
    assert message.startswith("MODEL_PARAMETERS ")
    assert raw not in message


@pytest.mark.parametrize("name", ["model", "stream", "n", "messages", "async_client"])
def test_parameters_that_are_decided_elsewhere_are_refused(name: str) -> None:
    """What other settings decide, or what reading depends on, cannot be overruled."""
    message = refusal(MODEL_PARAMETERS=json.dumps({name: PRIVATE}))
    assert message == f"MODEL_PARAMETERS must not set {name}: other settings decide it"


# Secrets


def test_secrets_are_not_shown() -> None:
    """A key, and an address with a password in it, do not appear where settings are printed."""
    settings = Settings.from_env(
        {
            "OPENAI_API_KEY": PRIVATE,
            "REDIS_URL": f"redis://:{PRIVATE}@localhost",
            "MODEL_PARAMETERS": json.dumps({"headers": {"X-Key": PRIVATE}}),
        }
    )
    assert PRIVATE not in f"{settings!r} {settings}"
    assert "openai_model='gpt-6-luna'" in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PRIVATE}@localhost",
        f"redis://:{PRIVATE}@localhost:port",
        f"redis://:{PRIVATE}@[localhost",
        f"{PRIVATE}@localhost",
        PRIVATE,
    ],
)
def test_a_bad_address_is_not_repeated(url: str) -> None:
    """The message about an address does not show the password in it."""
    assert PRIVATE not in refusal(REDIS_URL=url)


def test_a_bad_value_beside_a_secret_does_not_show_it() -> None:
    """A message about one variable tells nothing of the others."""
    assert PRIVATE not in refusal(OPENAI_API_KEY=PRIVATE, PORT="x")


def test_settings_cannot_be_changed() -> None:
    """What was read at the start stays as it is."""
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


@given(st.dictionaries(st.sampled_from(NAMES), st.text()))
def test_any_environment_is_read_or_refused(env: dict[str, str]) -> None:
    """Whatever is in the environment, reading it raises nothing but an error with a name in it."""
    try:
        Settings.from_env(env)
        named = None
    except SettingsError as refused:
        named = str(refused).split()[0].removesuffix("=false")
    assert named is None or named in env


# .env.example


def test_every_setting_is_in_the_example() -> None:
    """The example names every setting once, in the order of the code."""
    assert [name for name, _ in _examples()] == NAMES


def test_the_example_shows_the_defaults() -> None:
    """Every value of the example is the default, so that copying it changes nothing."""
    for name, raw in _examples():
        assert Settings.from_env({name: raw}) == Settings(), name


def test_the_example_explains_every_setting() -> None:
    """Above each setting of the example stands what it is about."""
    before = ""
    for line in EXAMPLE.read_text().splitlines():
        if _EXAMPLE_LINE.fullmatch(line):
            assert before.startswith("# "), line
            assert not _EXAMPLE_LINE.fullmatch(before), line
        before = line


_EXAMPLE_LINE = re.compile(r"(?:# )?([A-Z][A-Z_]*=(?:\S*|'[^']*'))")


def _examples() -> list[tuple[str, str]]:
    matches = map(_EXAMPLE_LINE.fullmatch, EXAMPLE.read_text().splitlines())
    lines = "\n".join(match[1] for match in matches if match)
    return [(name, raw or "") for name, raw in dotenv_values(stream=StringIO(lines)).items()]
