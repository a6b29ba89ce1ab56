"""Which options a command reads, found in the source of the function behind it.

A command's function is followed path by path: every `if` is taken both ways, and a path ends where
the function returns. An option that a path neither reads nor refuses by its name does nothing
there, though it may have been given. What is handed on as `**values`, or becomes a field of a
dataclass, is looked for where it went.
"""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import textwrap
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).parent.parent


def unread(command):
    """What a path neither reads nor refuses: (option, what the path asks for) of the first such."""
    found = {}
    for parameter in command.params:
        if not parameter.expose_value:
            continue  # --version, say, which does its work and ends
        name = parameter.name
        holders = [one for one in _functions(command.callback) if _takes(one, name)]
        if not holders:
            found[name] = "nothing takes it"
        for function in holders:
            for conditions, words in _paths(function):
                if name not in words and "*" not in words:
                    asked = [test if yes else f"not ({test})" for test, yes in conditions]
                    found.setdefault(name, " and ".join(asked) or "always")
    return found


def _functions(callback):
    """The function of a command, and those that its decorators put around it."""
    found = [callback]
    while hasattr(found[-1], "__wrapped__"):
        found.append(found[-1].__wrapped__)
    return found


def _takes(function, name):
    """Whether a function has the option as an argument of its own, or all that is left."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters
    rest = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    # What a decorator hands on to the function inside is looked at there.
    return name in parameters or (rest and not hasattr(function, "__wrapped__"))


@cache
def _paths(function):
    """The paths through a function: what they ask for, and the names and texts that they look at.

    The names hold "*" where all of `**values` is looked at.
    """
    definition = _tree(function)
    rest = definition.args.kwarg
    lost = _lost_fields(definition, function)
    changed = {
        node.id
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    paths = []
    for conditions, words, ended in _walk(definition.body):
        if ended == "raise" or _contradicts_itself(conditions, changed):
            continue
        words = words | _refused_in_calls(words, function)
        if rest is not None and rest.arg in words:
            words = words | _handed_on(definition, rest.arg, function)
        paths.append((conditions, words - lost))
    return paths


def _walk(body):
    """(what it asks for, words, how it ended) of every path through some statements."""
    paths = [((), frozenset(), None)]
    for statement in body:
        going = [path for path in paths if path[2] is None]
        over = [path for path in paths if path[2] is not None]
        paths = over + [
            (asked + more, words | others, ended)
            for (asked, words, _), (more, others, ended) in itertools.product(
                going, _steps(statement)
            )
        ]
        paths = list(dict.fromkeys(paths))
    return paths


def _steps(statement):
    if isinstance(statement, ast.If):
        test, negated = statement.test, False
        while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, negated = test.operand, not negated
        return [
            (((ast.unparse(test), taken != negated), *more), _words(test) | words, ended)
            for taken, body in ((True, statement.body), (False, statement.orelse))
            for more, words, ended in _walk(body)
        ]
    if isinstance(statement, ast.With):
        entered = frozenset().union(*(_words(item) for item in statement.items))
        return [(asked, entered | words, end) for asked, words, end in _walk(statement.body)]
    ended = {ast.Return: "return", ast.Raise: "raise"}.get(type(statement))
    return [((), _words(statement), ended)]


def _contradicts_itself(conditions, changed):
    """Whether the same is asked twice and is true once; of `changed` names it may become so."""
    asked = {
        (test, yes)
        for test, yes in conditions
        if not changed
        & {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    }
    return any((test, not yes) in asked for test, yes in asked)


def _refused_in_calls(words, function):
    """Names that functions of the same module, called on the path, refuse."""
    found = frozenset()
    for word in words:
        target = function.__globals__.get(word)
        if inspect.isfunction(target) and target.__module__ == function.__module__:
            there = _words(_tree(target))
            found |= there if "refuse_unread" in _attributes_of(target) else frozenset()
    return found


@cache
def _attributes_of(function):
    return {node.attr for node in ast.walk(_tree(function)) if isinstance(node, ast.Attribute)}


def _words(node):
    """Names that are read, and texts: an option is refused by its name."""
    return frozenset(
        one.id if isinstance(one, ast.Name) else one.value
        for one in ast.walk(node)
        if (isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load))
        or (isinstance(one, ast.Constant) and isinstance(one.value, str))
    )


def _handed_on(definition, rest, function):
    """What is read of `**rest` by those that get it; "*" where it is walked through."""
    found = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.Starred) and _is(node.value, rest):
            found.add("*")
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and _is(node.func.value, rest):
            found.add("*")  # rest.items()
        if any(word.arg is None and _is(word.value, rest) for word in node.keywords):
            target = _called(node, function)
            if target is None:
                continue  # the function inside a decorator, which is looked at by itself
            if dataclasses.is_dataclass(target):
                found |= {field.name for field in dataclasses.fields(target)} & _attributes()
            else:
                found |= frozenset.intersection(*(words for _, words in _paths(target)))
    return frozenset(found)


def _lost_fields(definition, function):
    """Names that do nothing but fill a field of a dataclass that nobody reads."""
    lost, kept = set(), set()
    for node in ast.walk(definition):
        target = _called(node, function) if isinstance(node, ast.Call) else None
        for word in node.keywords if dataclasses.is_dataclass(target) else ():
            if isinstance(word.value, ast.Name):
                (kept if word.arg in _attributes() else lost).add(word.value.id)
    return lost - kept


def _is(node, name):
    return isinstance(node, ast.Name) and node.id == name


def _called(call, function):
    """What is called, where its name is one of the module's or is imported in the function."""
    if not isinstance(call.func, ast.Name):
        return None
    name = call.func.id
    imported = _imports(function)
    return imported[name]() if name in imported else function.__globals__.get(name)


@cache
def _imports(function):
    """What a function imports, by the name that it has there."""
    return {
        alias.asname or alias.name: partial(_imported, node.module, alias.name)
        for node in ast.walk(_tree(function))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _imported(module, name):
    return getattr(importlib.import_module(module), name)


@cache
def _tree(function):
    # Of its code: inspect would look through a decorator at the function inside.
    tree = ast.parse(textwrap.dedent(inspect.getsource(function.__code__)))
    (definition,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return definition


@cache
def _attributes():
    """Names of all attributes that are read anywhere in the project."""
    return {
        name
        for package in ("alexnet", "train", "export", "serve", "bench")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"(?<=[\w)\]])\.(\w+)\b(?!\s*=[^=])", path.read_text("utf-8"))
    }
