"""Each mistake, with its exact place and words. `‹` and `›` stand around what is meant."""

import pytest

from expressions.material import KINDS
from gateway.expressions import ExpressionError, Kind, parse

SYNTAX = [
    # nothing there
    ("‹›", "there is no expression", ""),
    ("‹  ›", "there is no expression", ""),
    ("x ‹+›", "something is missing behind '+'", ""),
    ("x > 50 ‹%›", "something is missing behind '%'", "shares are written as numbers, without a sign"),
    ("(‹)›", "something is missing before ')'", ""),
    ("max(x, ‹)›", "something is missing before ')'", ""),
    ("max(‹,› x)", "something is missing before ','", ""),
    ("x > ‹>› 5", "something is missing before '>'", ""),
    ("‹+›x", "something is missing before '+'", "a sign + is not needed"),
    ("x and ‹or› y", "something is missing before 'or'", ""),
    ("‹not›", "something is missing behind 'not'", ""),
    # brackets and quotation marks
    ("‹(›x + 1", "'(' is not closed", "put ) where it ends; in {…} a comma ends it: then write all of it in quotes"),
    ("2 * (x + 1)‹)›", "')' closes nothing", ""),
    ("x + 1‹)›", "')' closes nothing", ""),
    ("max‹(›x, y", "'(' is not closed", "put ) where it ends; in {…} a comma ends it: then write all of it in quotes"),
    ("(x ‹y›)", "an operator is missing before 'y'", ""),
    ("‹[›melt-temp", "'[' is not closed", "write [name] or [machine/name]"),
    ("x‹]›", "']' closes nothing", "write [name] or [machine/name]"),
    ("‹[]›", "'[]' is not a signal", "write [name] or [machine/name]"),
    ("1 + ‹[/x]›", "'[/x]' is not a signal", "write [name] or [machine/name]"),
    ("‹[a/b/c]›", "'[a/b/c]' is not a signal", "write [name] or [machine/name]"),
    ("mode == ‹'auto›", "this text is not closed", "put ' at its end"),
    ('mode == ‹"auto›\n or on', "this text is not closed", 'put " at its end'),
    # operators of other languages
    ("x ‹=› 5", "'=' is not known here", "to compare, write =="),
    ("x ==‹=› 5", "'=' is not known here", "to compare, write =="),
    ("on ‹&&› off", "'&&' is not known here", "write and"),
    ("on ‹||› off", "'||' is not known here", "write or"),
    ("‹!›on", "'!' is not known here", "write not"),
    ("x ‹<>› 5", "'<>' is not known here", "write !="),
    ("x ‹=<› 5", "'=<' is not known here", "write <="),
    ("x ‹=>› 5", "'=>' is not known here", "write >="),
    ("x ‹≥› 5", "'≥' is not known here", "write >="),
    ("x ‹^› 2", "'^' is not known here", "write **"),
    ("n ‹&› 4", "'&' is not known here", "write and; for single bits there is bit(x, n)"),
    ("on ‹?› 1 : 2", "'?' is not known here", "write if(condition, a, b)"),
    ("mode == ‹“›auto“", "'“' is not known here", "write '"),
    ("2 ‹×› x", "'×' is not known here", "write *"),
    ("‹ü›ber", "'ü' is not known here", "letters are a to z"),
    ("x ‹;› y", "';' is not known here", ""),
    ("x ‹\x00›", "'U+0000' is not known here", ""),
    ("‹if› x > 5 then 1 else 0", "'if' is a function", "write if(condition, a, b)"),
    ("x > 5 ‹AND› y > 3", "'AND' is written in small letters", "write and; a signal of that name: [AND]"),
    ("on == ‹True›", "'True' is written in small letters", "write true; a signal of that name: [True]"),
    # one behind the other
    ("x ‹y›", "an operator is missing before 'y'", ""),
    ("x ‹5›", "an operator is missing before '5'", ""),
    ("(x) ‹(›y)", "an operator is missing before '('", ""),
    ("x > 5‹and› y > 3", "'and' is not a unit of time", "put a blank before it"),
    ("x‹,› y", "',' stands only between the arguments of a function", "decimals are written with a point: 1.5"),
    ("x > 1‹,›5", "',' stands only between the arguments of a function", "decimals are written with a point: 1.5"),
    ("duration(on) > 5 ‹min›", "an operator is missing before 'min'", "a duration is written without a blank: 5min"),
    ("x ‹not› == y", "an operator is missing before 'not'", "write not before the comparison: not a == b"),
    ("1 < x ‹<› 5", "comparisons cannot be chained", "write 1 < x and x < …"),
    ("x == y + 1 ‹==› 2", "comparisons cannot be chained", "write x == y + 1 and y + 1 == …"),
    # numbers
    ("5‹.›", "'.' is not known here", "a number has digits on both sides of its point: 5.0"),
    ("1‹_000›", "'_000' is not a unit of time", "digits are not grouped: 1000, not 1_000"),
    ("‹0x›", "'0x' is not a number", "hexadecimal numbers are written 0x1F"),
    ("‹0xFG›", "'0xFG' is not a number", "hexadecimal numbers are written 0x1F"),
    ("‹1e999›", "1e999 is too large for a number", ""),
    ("‹9223372036854775808›", "9223372036854775808 is too large for a number", ""),
    ("‹1e308d›", "1e308d is too large for a number", ""),
    ("x > 5‹m›", "'m' is not a unit of time",
     "did you mean 5min? durations are written in ms, s, min, h, d; other numbers take the unit of what they stand beside"),
    ("x > 200‹Cel›", "'Cel' is not a unit of time",
     "durations are written in ms, s, min, h, d; other numbers take the unit of what they stand beside"),
    ("2‹nd_temp› > 5", "'nd_temp' is not a unit of time", "a name that begins with a digit is written in brackets: [2nd_temp]"),
    # functions
    ("‹avg›(x, 5min)", "there is no function 'avg'", "write mean(x, 5min)"),
    ("‹maen›(x, 5min)", "there is no function 'maen'", "did you mean 'mean'?"),
    ("‹MIN›(x, y)", "there is no function 'MIN'", "did you mean 'min'?"),
    ("‹__import__›('os')", "there is no function '__import__'", ""),
    ("‹abs()›", "abs takes 1 argument, not 0", "write abs(x)"),
    ("‹abs(x, y)›", "abs takes 1 argument, not 2", "write abs(x)"),
    ("‹clamp(x, 5)›", "clamp takes 3 arguments, not 2", "write clamp(x, low, high)"),
    ("1 + ‹if(on, 1)›", "if takes 3 arguments, not 2", "write if(condition, a, b)"),
    ("‹min(x)›", "min takes 2 or more arguments, not 1", "write min(a, b, …) or min(x, 5min)"),
    ("‹round(x, 1, 2)›", "round takes 1 or 2 arguments, not 3", "write round(x) or round(x, digits)"),
    ("‹mean(x)›", "mean takes 2 arguments, not 1", "write mean(x, 5min)"),
    ("mean(x, ‹y›)", "the window has to be a duration", "write mean(x, 5min)"),
    ("mean(x, ‹300›)", "the window has to be a duration", "write mean(x, 5min)"),
    ("rate(x, ‹2min / 2›)", "the window has to be a duration", "write rate(x, 5min)"),
    ("count(on, ‹0s›)", "a window is between 1ms and 366d long", ""),
    ("count(on, ‹-5min›)", "a window is between 1ms and 366d long", ""),
    ("min(x, ‹367d›)", "a window is between 1ms and 366d long", ""),
]  # fmt: skip

MEANING = [
    # signals
    ("‹melt_tmp› > 5", "there is no signal 'melt_tmp'", "did you mean melt_temp?"),
    ("x + ‹nothing.like.it›", "there is no signal 'nothing.like.it'", ""),
    ("‹hall›-temp > 5", "there is no signal 'hall'", "write [hall-temp]"),
    ("x + ‹press›-07/melt_temp", "there is no signal 'press'", "write [press-07/melt_temp]"),
    ("‹[press-07/melt_tmp]›", "there is no signal 'melt_tmp' of machine 'press-07'", "did you mean [press-07/melt_temp]?"),
    ("‹hal_temp› > 5", "there is no signal 'hal_temp'", "did you mean [hall-temp]?"),
    ("x + x + ‹z›", "there is no signal 'z'", ""),
    # types
    ("‹mode› + 1", "'mode' is text, where a number is needed", ""),
    ("1 + ‹'a'›", "'a' is text, where a number is needed", ""),
    ("x * ‹on›", "'on' is true or false, where a number is needed", "write if(on, 1, 0)"),
    ("‹x› and on", "'x' is a number, where true or false is needed", "compare it: x != 0"),
    ("not ‹mode›", "'mode' is text, where true or false is needed", "compare it: mode == 'auto'"),
    ("if(‹x + 1›, 1, 2)", "'x + 1' is a number, where true or false is needed", "compare it: x + 1 != 0"),
    ("x == ‹'5'›", "'x' is a number, '5' text: they cannot be compared", ""),
    ("on and ‹(x + 1) * 2›", "'(x + 1) * 2' is a number, where true or false is needed", "compare it: (x + 1) * 2 != 0"),
    ("not ‹(x + 1)›", "'(x + 1)' is a number, where true or false is needed", "compare it: (x + 1) != 0"),
    ("mode == ‹3›", "'mode' is text, '3' a number: they cannot be compared", ""),
    ("on == ‹1›", "'on' is true or false, '1' a number: they cannot be compared", "write on or not on"),
    ("1 == ‹on›", "'1' is a number, 'on' true or false: they cannot be compared", "write on or not on"),
    ("‹mode› > 'a'", "'mode' is text, which is neither less nor more", "only == and != compare it"),
    ("‹on› > off", "'on' is true or false, which is neither less nor more", "only == and != compare it"),
    ("if(on, x, ‹mode›)", "'x' is a number, 'mode' text: they cannot be the results of one if", ""),
    ("default(mode, ‹0›)", "'mode' is text, '0' a number: they cannot be the results of one default", ""),
    ("mode == ‹'Auto'›", "'mode' is never 'Auto'", "did you mean 'auto'?"),
    ("‹'manual'› != mode", "'mode' is never 'manual'", "it is one of auto, off, setup"),
    ("previous(mode) == ‹'autp'›", "'previous(mode)' is never 'autp'", "did you mean 'auto'?"),
    ("rising(‹x›)", "'x' is a number, where true or false is needed", "compare it: x != 0"),
    ("mean(‹on›, 1h)", "'on' is true or false, where a number is needed", "write if(on, 1, 0)"),
    ("total(‹mode›)", "'mode' is text, where a number is needed", ""),
    ("bit(‹x›, 3)", "'x' has no bits: it is no whole number", "round(x) makes one of it"),
    ("bit(n, ‹64›)", "this has to be a whole number from 0 to 63, written out", ""),
    ("bit(n, ‹i›)", "this has to be a whole number from 0 to 63, written out", ""),
    ("round(x, ‹1.5›)", "this has to be a whole number from -15 to 15, written out", ""),
    ("round(x, ‹true›)", "this has to be a whole number from -15 to 15, written out", ""),
    # units
    ("kw + ‹kg›", "'kw' and 'kg' cannot be added: kW is a power, kg a mass", ""),
    ("kg - ‹kw›", "'kg' and 'kw' cannot be subtracted: kg is a mass, kW a power", ""),
    ("kw > ‹cel›", "'kw' and 'cel' cannot be compared: kW is a power, Cel a temperature", ""),
    ("‹5min› > kw", "'5min' and 'kw' cannot be compared: s is a time, kW a power", ""),
    ("max(1, kw, w, ‹kg›)", "'kw' and 'kg' cannot be compared: kW is a power, kg a mass", ""),
    ("if(on, kw, ‹kg›)", "'kw' and 'kg' cannot be the results of one if: kW is a power, kg a mass", ""),
    ("clamp(kw, 0, ‹kg›)", "'kw' and 'kg' cannot be compared: kW is a power, kg a mass", ""),
    ("kw % ‹kg›", "'kw' and 'kg' cannot be divided with a remainder: kW is a power, kg a mass", ""),
    ("total(kw) > ‹kg›", "'total(kw)' and 'kg' cannot be compared: kW.s is an energy, kg a mass", ""),
    ("cel + ‹degf›", "'cel' and 'degf' are temperatures on two scales: they cannot be added", "write convert(degf, 'Cel')"),
    ("kw ** ‹0.5›", "'kw' is in kW, so its exponent has to be a whole number from -9 to 9", ""),
    ("kw ** ‹10›", "'kw' is in kW, so its exponent has to be a whole number from -9 to 9", ""),
    ("2 ** ‹kw›", "'kw' is an exponent, and has the unit kW", ""),
    ("‹convert(kw, 'kg')›", "'kw' cannot be converted: kW is a power, kg a mass", ""),
    ("convert(x, ‹mode›)", "the unit has to be text, written out", "convert(x, 'kW')"),
    # values
    ("x / ‹0›", "this divides by 0", ""),
    ("x % ‹0.0›", "this divides by 0", ""),
    ("x / ‹(1 - 1)›", "this divides by 0", ""),
    ("x + ‹sqrt(-1)›", "this has no value", "it divides by 0, or is no number"),
    ("x + ‹1e308 * 10›", "this has no value", "it divides by 0, or is no number"),
    ("clamp(x, ‹5›, 1)", "'5' is more than '1'", "the lower limit comes first"),
    ("between(x, ‹5›, 1)", "'5' is more than '1'", "the lower limit comes first"),
]  # fmt: skip
NAMES = [*KINDS, "melt_temp", "hall-temp", "press-07/melt_temp"]


def place(marked: str) -> tuple[str, int, int]:
    start = marked.index("‹")
    end = marked.index("›") - 1
    return marked.replace("‹", "").replace("›", ""), start, end


@pytest.mark.parametrize(("marked", "message", "hint"), SYNTAX)
def test_a_text_that_cannot_be_read(marked, message, hint):
    text, start, end = place(marked)
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    error = raised.value
    assert (error.message, error.start, error.end, error.hint) == (message, start, end, hint)


@pytest.mark.parametrize(("marked", "message", "hint"), MEANING)
def test_a_text_that_makes_no_sense(marked, message, hint):
    text, start, end = place(marked)
    expression = parse(text)
    with pytest.raises(ExpressionError) as raised:
        expression.check(lambda r: KINDS.get(str(r)), NAMES)
    error = raised.value
    assert (error.message, error.start, error.end, error.hint) == (message, start, end, hint)


def test_a_wrong_unit_is_shown_where_it_is_wrong():
    with pytest.raises(ExpressionError) as raised:
        parse("convert(kw, 'm.kWh')").check(lambda r: KINDS[str(r)])
    assert raised.value.start == len("convert(kw, 'm.")
    assert raised.value.hint == "did you mean 'm.kW.h'?"


@pytest.mark.parametrize(
    ("text", "message", "start"),
    [
        ("1 + " * 300 + "1", "an expression has at most 1000 characters", 1000),
        ("(" * 51 + "1" + ")" * 51, "this is nested more than 50 deep", 50),
        ("-" * 51 + "1", "this is nested more than 50 deep", 50),
        ("not " * 51 + "on", "this is nested more than 50 deep", 200),
        ("2**" * 51 + "1", "this is nested more than 50 deep", 150),
        ("+".join(["1"] * 251), "an expression has at most 500 parts", 0),
        ("(" * 990, "this is nested more than 50 deep", 50),
    ],
)
def test_what_is_too_long_or_too_deep(text, message, start):
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert (raised.value.message, raised.value.start) == (message, start)


def test_a_mistake_tells_its_place_and_what_to_do():
    with pytest.raises(ExpressionError) as raised:
        parse("x = 5")
    assert str(raised.value) == "'=' is not known here (at character 3): to compare, write =="
    assert isinstance(raised.value, ValueError)


def test_what_is_not_known_yet_is_let_pass():
    """Before a server is asked, neither types nor units are known."""
    for text in (
        "any + other",
        "any == 'auto'",
        "any > 3 and other",
        "mean(any, 5min)",
        "kw + any",
        "bit(any, 3)",
        "mode == other",
    ):
        parse(text).check(lambda r: KINDS[str(r)])


def test_a_signal_is_asked_for_once():
    asked = []

    def kind_of(reference):
        asked.append(str(reference))
        return Kind("float")

    parse("x + x * [m/x] - x").check(kind_of)
    assert asked == ["x", "m/x"]
