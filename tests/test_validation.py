"""Errors of validation are described in this service's own words, with the rule that the field has."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from asr_service.api.jobs.schemas import JobForm, ListParameters, WaitParameters
from asr_service.api.native.schemas import DetectParameters, OutputParameters, TranscribeParameters
from asr_service.api.openai.schemas import OpenAIForm
from asr_service.errors import InvalidParameter, MalformedRequest
from asr_service.settings import Settings
from asr_service.validation import JsonFields, TextFields, check_fields, describe_error


def _even(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["inner"]
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Every(TextFields):
    """One field for each kind of constraint."""

    model_config = ConfigDict(extra="forbid")

    whole: int = 0
    whole_from: Annotated[int, Field(ge=1)] = 1
    whole_within: Annotated[int, Field(ge=1, le=10)] | None = None
    number: float = 0
    above: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    below: Annotated[float, Field(lt=5)] = 1
    at_most: Annotated[float, Field(le=5)] = 1
    truth: bool = False
    choice: Literal["a", "b"] = "a"
    only: Literal["a"] = "a"
    short: Annotated[str, Field(max_length=3)] = ""
    long: Annotated[str, Field(min_length=2)] = "ab"
    between: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    several: Annotated[list[Annotated[str, Field(max_length=3)]], Field(max_length=1)] = Field(default_factory=list)
    many: Annotated[list[int], Field(min_length=1)] = Field(default_factory=lambda: [1])
    inner: Inner | None = None
    even: Annotated[int, AfterValidator(_even)] = 0


CASES: dict[str, dict[str, object]] = {
    "whole=x is not valid: expected a whole number.": {"whole": "x"},
    "whole=1.5 is not valid: expected a whole number.": {"whole": "1.5"},
    "whole='' is not valid: expected a whole number.": {"whole": ""},
    "whole_from=0 is not valid: expected a whole number of at least 1.": {"whole_from": "0"},
    "whole_within=11 is not valid: expected a whole number from 1 to 10.": {"whole_within": "11"},
    "number='1 2' is not valid: expected a number.": {"number": "1 2"},
    "number=nan is not valid: expected a number.": {"number": "nan"},
    "above=-1 is not valid: expected a number greater than 0.": {"above": "-1"},
    "above=inf is not valid: expected a finite number greater than 0.": {"above": "inf"},
    "below=nan is not valid: expected a number less than 5.": {"below": "nan"},
    "at_most=6 is not valid: expected a number of at most 5.": {"at_most": "6"},
    "truth=perhaps is not valid: expected true or false.": {"truth": "perhaps"},
    "choice=c is not valid: expected one of a, b.": {"choice": "c"},
    "only=c is not valid: expected a.": {"only": "c"},
    "short=long is not valid: expected text of at most 3 characters.": {"short": "long"},
    "long=a is not valid: expected text of at least 2 characters.": {"long": "a"},
    "between='' is not valid: expected text of 1 to 3 characters.": {"between": ""},
    "short=1 is not valid: expected text of at most 3 characters.": {"short": 1},
    "several='a, b' is not valid: expected a list of at most 1 item.": {"several": ["a", "b"]},
    "several=long is not valid: expected text of at most 3 characters.": {"several": ["long"]},
    "many='[]' is not valid: expected a list of at least 1 item.": {"many": []},
    "many=x is not valid: expected a whole number.": {"many": [1, "x"]},
    "inner=x is not valid: expected a JSON object.": {"inner": "x"},
    "inner.share=1.5 is not valid: expected a number greater than 0 and less than 1.": {
        "inner": {"kind": "inner", "share": 1.5}
    },
    "Field 'inner.kind' is required.": {"inner": {}},
    "Unknown field 'inner.shade'. Did you mean share?": {"inner": {"kind": "inner", "shade": 1}},
    "Unknown field 'inner.q'. Known fields: kind, share.": {"inner": {"kind": "inner", "q": 1}},
    "even=3 is not valid: 3 is odd.": {"even": "3"},
    "Unknown field 'trut'. Did you mean truth?": {"trut": "1"},
}


@pytest.mark.parametrize("message", CASES)
def test_a_message_names_the_field_the_value_and_the_rule(message: str) -> None:
    """For each kind of constraint, in nested objects and lists too."""
    with pytest.raises(InvalidParameter) as refused:
        check_fields(Every, CASES[message])
    assert refused.value.message == message
    assert refused.value.param == next(iter(CASES[message]))


@pytest.mark.parametrize("text", ["1_0", " 3", "3\n", "\u0663", "\uff13", "3_"])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        (TranscribeParameters, "beam_size"),
        (TranscribeParameters, "temperature"),
        (OutputParameters, "max_line_width"),
        (DetectParameters, "speech_pad_ms"),
        (OpenAIForm, "max_completion_tokens"),
        (JobForm, "max_cue_s"),
        (ListParameters, "limit"),
        (WaitParameters, "wait"),
        (Settings, "beam_size"),
        (Settings, "max_wait_s"),
    ],
)
def test_a_number_has_ascii_digits_alone(form: type[BaseModel], name: str, text: str) -> None:
    """Python reads `1_0` as 10 and ignores spaces, so a typing error would become a value."""
    required = {"model": "base"} if form is OpenAIForm else {}
    with pytest.raises(InvalidParameter, match=rf"^{name}=.* is not valid: expected a (whole )?number"):
        check_fields(form, required | {name: text})


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("+3", 3), ("03", 3), ("3.0", 3), (3, 3), (3.0, 3)])
def test_every_usual_spelling_of_a_number_is_accepted(text: object, number: int) -> None:
    assert check_fields(Every, {"whole": text}).whole == number


@pytest.mark.parametrize(("text", "number"), [(".5", 0.5), ("1e-1", 0.1), ("1E-1", 0.1), ("2.", 2), ("-1.5", -1.5)])
def test_every_usual_spelling_of_a_fraction_is_accepted(text: str, number: float) -> None:
    assert check_fields(Every, {"number": text}).number == number


class Body(JsonFields):
    """A JSON body."""

    whole: int = 0
    number: float = 0
    truth: bool = False
    text: str = ""
    parts: list["Body"] = Field(default_factory=list)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("whole='5' is not valid: expected a whole number.", {"whole": "5"}),
        ("whole=5.5 is not valid: expected a whole number.", {"whole": 5.5}),
        ("whole=True is not valid: expected a whole number.", {"whole": True}),
        ("whole=inf is not valid: expected a whole number.", {"whole": float("inf")}),
        ("number='0.5' is not valid: expected a number.", {"number": "0.5"}),
        ("number=True is not valid: expected a number.", {"number": True}),
        ("truth=1 is not valid: expected true or false.", {"truth": 1}),
        ("text=1 is not valid: expected text.", {"text": 1}),
        ("parts[1].number='0.5' is not valid: expected a number.", {"parts": [{}, {"number": "0.5"}]}),
    ],
)
def test_a_value_of_json_has_the_type_of_its_field(message: str, fields: dict[str, object]) -> None:
    """The message has the position in a list."""
    with pytest.raises(InvalidParameter) as refused:
        check_fields(Body, fields)
    assert refused.value.message == message


def test_json_has_one_type_of_number() -> None:
    """Some clients write whole numbers with a fraction of 0, and others write fractions without one."""
    body = check_fields(Body, {"whole": 300.0, "number": 1, "parts": [{"whole": -0.0}]})
    assert (body.whole, body.number, body.parts[0].whole) == (300, 1.0, 0)


def test_a_long_value_is_cut_and_escaped() -> None:
    """A message stays short, and cannot write to a terminal."""
    with pytest.raises(InvalidParameter) as refused:
        check_fields(Every, {"short": "\x1b[31m" + "a" * 5000})
    assert refused.value.message == (
        "short='\\x1b[31m" + "a" * 59 + "...' is not valid: expected text of at most 3 characters."
    )


def test_a_missing_field_is_a_malformed_request() -> None:
    """It is not a wrong value."""
    with pytest.raises(MalformedRequest, match=r"^Field 'model' is required\.$") as refused:
        check_fields(OpenAIForm, {})
    assert refused.value.param == "model"


def _wrong_values(schema: dict[str, Any]) -> list[object]:
    """Return values that break each rule of a field; none for text without a rule."""
    branches = [branch for branch in schema.get("anyOf", schema.get("oneOf", [schema])) if branch.get("type") != "null"]
    wrong: list[object] = []
    for branch in branches:
        wrong += [branch[bound] - 1 for bound in ("minimum",) if bound in branch]
        wrong += [branch[bound] + 1 for bound in ("maximum",) if bound in branch]
        wrong += [branch[bound] for bound in ("exclusiveMinimum", "exclusiveMaximum") if bound in branch]
        wrong += ["a" * (branch["maxLength"] + 1)] if "maxLength" in branch else []
        wrong += [["a"] * (branch["maxItems"] + 1)] if "maxItems" in branch and "enum" not in branch["items"] else []
        wrong += ["nonsense"] if branch.get("type") != "string" or "enum" in branch or "const" in branch else []
    return wrong


FIELDS = [
    pytest.param(form, name, value, id=f"{form.__name__}-{name}-{number}")
    for form in (TranscribeParameters, DetectParameters, OpenAIForm, Settings)
    for name, schema in form.model_json_schema()["properties"].items()
    for number, value in enumerate(_wrong_values(schema))
]


@pytest.mark.parametrize(("form", "name", "value"), FIELDS)
def test_every_field_has_our_own_message(form: type[BaseModel], name: str, value: object) -> None:
    """Of requests, of OpenAI's forms and of the settings: none shows a sentence of pydantic."""
    required = {"model": "base"} if form is OpenAIForm else {}
    with pytest.raises(ValidationError) as refused:
        form.model_validate(required | {name: value})
    message = describe_error(form, refused.value)
    assert message.startswith(f"{name}=")
    assert " is not valid: expected " in message
    assert message.endswith(".")
    assert not any(error["msg"].removeprefix("Value error, ") in message for error in refused.value.errors())
