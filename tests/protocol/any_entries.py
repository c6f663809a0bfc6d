"""Any entries there can be, for hypothesis, and the values that tests of entries share."""

from hypothesis import strategies as st

from backend.protocol.entries import FINAL_STATUSES, MAX_TOKENS, Ending, Entry, Usage
from backend.protocol.errors import ErrorPayload

QUESTION_ID = "6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
START = "START:6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11;<br/>"
END = "<br/>;END:6f1c9f5e-3c0b-4a57-9d3e-6a2f0c6b1d11"
ERROR: ErrorPayload = {"code": "model_timeout", "message": "Too slow.", "retryable": True}
DONE = Ending("done", finish_reason="stop")

# Words of a model, among them such as look like labels.
texts = st.sampled_from(["a", "b ", "\n", "<br/>", "{topic}", START, END, START + END]) | st.text(
    max_size=4
)
errors = st.builds(
    lambda code, message, retryable: ErrorPayload(code=code, message=message, retryable=retryable),
    st.text(),
    st.text(),
    st.booleans(),
)
tokens = st.none() | st.integers(min_value=0, max_value=MAX_TOKENS)
usages = st.builds(Usage, tokens, tokens, tokens).filter(bool)
endings = st.builds(
    Ending,
    st.sampled_from(FINAL_STATUSES),
    st.none() | errors,
    st.none() | st.text(min_size=1),
    st.none() | usages,
    st.none() | st.text(min_size=1),
)
numbers = st.integers(min_value=0, max_value=2**63)
entries = st.builds(Entry, st.text(), st.text(), numbers, numbers, st.none() | endings) | st.builds(
    Entry, st.text(), st.just(""), numbers, numbers, reasoning=st.text(min_size=1)
)
