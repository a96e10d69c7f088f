# Part of the moe-mlir project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parser: PTX text to kernels whose instructions have their operands resolved to registers."""

from __future__ import annotations

import bisect
import re
import struct
from dataclasses import dataclass, field

from .errors import ParseError

# Bits of every fundamental and packed type.
TYPE_BITS: dict[str, int] = {
    "pred": 1,
    "b8": 8,
    "u8": 8,
    "s8": 8,
    "b16": 16,
    "u16": 16,
    "s16": 16,
    "f16": 16,
    "bf16": 16,
    "e4m3x2": 16,
    "e5m2x2": 16,
    "b32": 32,
    "u32": 32,
    "s32": 32,
    "f32": 32,
    "f16x2": 32,
    "bf16x2": 32,
    "u16x2": 32,
    "s16x2": 32,
    "b64": 64,
    "u64": 64,
    "s64": 64,
    "f64": 64,
    "b128": 128,
}


@dataclass(frozen=True)
class Reg:
    """A register: an index into the kernel's register file.  `negated` is a `!` before it."""

    slot: int
    bits: int
    name: str
    negated: bool = False


@dataclass(frozen=True)
class Imm:
    """An immediate.  `value` is an int, or a float for a literal such as 1.0.  `fbits` holds the
    raw bits of a 0f or 0d literal, and `fwidth` how many there are."""

    value: int | float
    fbits: int | None = None
    fwidth: int = 0


@dataclass(frozen=True)
class Sym:
    """A name that is no register: a variable, a parameter, a label or a special register."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Addr:
    base: Reg | Sym | Imm
    offset: int


@dataclass(frozen=True)
class Vec:
    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """`a|b`: two destinations."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Sink:
    """`_`: a result nobody wants."""


Operand = Reg | Imm | Sym | Addr | Vec | Pair | Sink


@dataclass
class Instruction:
    line: int
    text: str
    guard: Reg | None
    opcode: str
    mods: tuple[str, ...]
    operands: list[Operand]
    # Why the operands could not be read; raised when the kernel is decoded, so that a call in one
    # kernel does not keep the others from running.
    problem: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass
class Param:
    name: str
    type: str
    size: int
    align: int
    offset: int


@dataclass
class Variable:
    name: str
    space: str
    align: int
    size: int
    initial: bytes | None
    line: int


@dataclass
class Kernel:
    name: str
    line: int
    parameters: list[Param]
    directives: dict[str, tuple[int, ...]] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    branch_targets: dict[str, list[str]] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    register_bits: list[int] = field(default_factory=list)

    @property
    def params(self) -> list[tuple[str, str, int]]:
        """(name, type, size in bytes) of each parameter, in order."""
        return [(p.name, p.type, p.size) for p in self.parameters]

    @property
    def param_bytes(self) -> int:
        last = self.parameters[-1] if self.parameters else None
        return last.offset + last.size if last else 0


_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_LINE_DIRECTIVE = re.compile(r"^[ \t]*\.(?:loc|file)\b[^\n]*$", re.M)
_LABEL = re.compile(r"([A-Za-z_$%][\w$]*)\s*:(?!:)")
_WORD = re.compile(r"[.\w$%]+")
_INT = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?$")
_HEXFLOAT = re.compile(r"(-?)0([fFdD])([0-9a-fA-F]+)$")
_DECFLOAT = re.compile(r"-?\d+\.\d*(?:[eE][+-]?\d+)?$")
# Nearly all initial values are bytes, and there are many of them.
_BYTES = re.compile(r"\{?\s*(?:0|[1-9]\d*)(?:\s*,\s*(?:0|[1-9]\d*))*\s*\}?$")
_NAME = re.compile(r"[A-Za-z_$%][\w$]*(?:\.[xyzw])?$")
_PARAM = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)"
    r"(?:\s+\.ptr(?:\s+\.(?:global|shared|const|local))?(?:\s+\.align\s+\d+)?)?"
    r"\s+([\w$%]+)\s*(?:\[\s*(\d+)\s*\])?$"
)
_VARIABLE = re.compile(
    r"((?:\.\w+(?:\s*\(.*?\))?\s+)*?)\.(global|const|shared|local)\s+"
    r"((?:\.(?:align\s+\d+|attribute\s*\(.*?\)|v[24])\s+)*)\.(\w+)\s+([\w$%]+)"
    r"((?:\s*\[\s*\d*\s*\])*)\s*(?:=\s*(.*))?$",
    re.S,
)


class _Source:
    """Comment-free text which still has its newlines, so that positions give line numbers."""

    def __init__(self, text: str):
        blank = lambda m: re.sub(r"[^\n]", " ", m.group(0))  # noqa: E731
        text = _COMMENT.sub(blank, text)
        self.text = _LINE_DIRECTIVE.sub(blank, text)
        self.breaks = [m.start() for m in re.finditer("\n", self.text)]

    def line(self, position: int) -> int:
        return bisect.bisect_left(self.breaks, position) + 1

    def match_brace(self, position: int, what: str) -> int:
        """The position of the brace that closes the one at `position`."""
        depth = 0
        for m in re.compile(r"[{}]").finditer(self.text, position):
            depth += 1 if m.group() == "{" else -1
            if depth == 0:
                return m.start()
        raise ParseError(f"{what} has no closing brace", self.line(position))


def split_operands(text: str) -> list[str]:
    """Splits at the commas that are outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "{[(":
            depth += 1
        elif c in "}])":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    if last or parts:
        parts.append(last)
    return parts


def parse_immediate(text: str) -> Imm | None:
    if _INT.match(text):
        body, sign = (text[1:], -1) if text[0] == "-" else (text, 1)
        body = body.rstrip("U")
        if len(body) > 1 and body[0] == "0" and body.isdigit():
            return Imm(sign * int(body, 8))
        return Imm(sign * int(body, 0))
    m = _HEXFLOAT.match(text)
    if m:
        width = 32 if m.group(2) in "fF" else 64
        bits = int(m.group(3), 16)
        if m.group(1):
            bits ^= 1 << (width - 1)
        code = ("<I", "<f") if width == 32 else ("<Q", "<d")
        value = struct.unpack(code[1], struct.pack(code[0], bits))[0]
        return Imm(value, bits, width)
    if _DECFLOAT.match(text):
        return Imm(float(text))
    return None


class _KernelParser:
    """Parses one kernel body into `kernel`."""

    def __init__(self, source: _Source, kernel: Kernel):
        self.source = source
        self.kernel = kernel
        # Innermost scope last.  Inline assembly opens scopes whose registers shadow outer ones.
        self.scopes: list[dict[str, tuple[int, int]]] = [{}]
        # Labels are scoped too; inside a nested scope they are renamed apart.
        self.label_scopes: list[dict[str, str]] = [{}]
        self.fixups: list[tuple[Instruction, list[dict[str, str]]]] = []
        self.table_scopes: dict[str, list[dict[str, str]]] = {}
        self.last_label = ""

    def parse(self, begin: int, end: int) -> None:
        text, source = self.source.text, self.source
        position = begin
        while True:
            while position < end and text[position].isspace():
                position += 1
            if position >= end:
                break
            if text[position] == "{":
                self.scopes.append({})
                self.label_scopes.append({})
                position += 1
                continue
            if text[position] == "}":
                if len(self.scopes) == 1:
                    raise ParseError("unbalanced closing brace", source.line(position))
                self.scopes.pop()
                self.label_scopes.pop()
                position += 1
                continue
            if text[position] == ";":
                position += 1
                continue
            label = _LABEL.match(text, position)
            line = source.line(position)
            if label:
                position = label.end()
                name = label.group(1)
                unique = name
                if len(self.label_scopes) > 1:
                    unique = f"{name}@{line}"
                if unique in self.kernel.labels or name in self.label_scopes[-1]:
                    raise ParseError(f"label {name} is defined twice", line)
                self.label_scopes[-1][name] = unique
                self.kernel.labels[unique] = len(self.kernel.instructions)
                self.last_label = unique
                continue
            stop = text.find(";", position, end)
            if stop < 0:
                raise ParseError("statement has no semicolon", line, text[position:end].strip())
            statement = " ".join(text[position:stop].split())
            if statement.startswith("."):
                self.directive(statement, line)
            else:
                self.instruction(statement, line)
            position = stop + 1
        if len(self.scopes) != 1:
            raise ParseError(f"kernel {self.kernel.name} has an unclosed scope", self.kernel.line)
        self.resolve_labels()

    def directive(self, statement: str, line: int) -> None:
        word = statement.split()[0]
        if word == ".reg":
            self.declare_registers(statement, line)
        elif word in (".shared", ".local"):
            self.kernel.variables.append(parse_variable(statement, line))
        elif word == ".branchtargets":
            names = split_operands(statement[len(word) :])
            self.kernel.branch_targets[self.last_label] = names
            self.table_scopes[self.last_label] = self.label_scopes[:]
        elif word in (".pragma", ".param"):
            pass  # .param: the arguments of a call, which is refused when it is decoded.
        else:
            raise ParseError(f"unknown directive {word}", line, statement)

    def declare_registers(self, statement: str, line: int) -> None:
        m = re.match(r"\.reg\s+\.(\w+)\s+(.*)$", statement)
        if not m or m.group(1) not in TYPE_BITS:
            raise ParseError("unknown register declaration", line, statement)
        bits = TYPE_BITS[m.group(1)]
        for item in split_operands(m.group(2)):
            ranged = re.match(r"([\w$%]+)<(\d+)>$", item)
            if ranged:
                names = [f"{ranged.group(1)}{i}" for i in range(int(ranged.group(2)))]
            elif re.match(r"[\w$%]+$", item):
                names = [item]
            else:
                raise ParseError(f"cannot read register declaration {item!r}", line, statement)
            for name in names:
                self.scopes[-1][name] = (len(self.kernel.register_bits), bits)
                self.kernel.register_bits.append(bits)

    def instruction(self, statement: str, line: int) -> None:
        text, guard = statement, None
        if statement.startswith("@"):
            m = re.match(r"@\s*(!?)\s*([\w$%]+)\s+", statement)
            if not m:
                raise ParseError("cannot read the guard", line, statement)
            found = self.find_register(m.group(2))
            if found is None or found[1] != 1:
                raise ParseError(f"guard {m.group(2)} is no predicate register", line, statement)
            guard = Reg(found[0], 1, m.group(2), bool(m.group(1)))
            text = statement[m.end() :]
        m = re.match(r"[A-Za-z][\w.:]*", text)
        if not m:
            raise ParseError("cannot read the opcode", line, statement)
        # L1::evict_last and the like hold no dot after the colons, so a dot always separates.
        opcode, *mods = m.group(0).split(".")
        operands, problem = [], None
        try:
            operands = [self.operand(t) for t in split_operands(text[m.end() :].strip())]
        except ValueError as e:
            problem = str(e)
        inst = Instruction(line, statement, guard, opcode, tuple(mods), operands, problem)
        if opcode in ("bra", "brx") and problem is None:
            self.fixups.append((inst, self.label_scopes[:]))
        self.kernel.instructions.append(inst)

    def resolve_labels(self) -> None:
        for inst, scopes in self.fixups:
            last = inst.operands[-1]
            if not isinstance(last, Sym):
                raise ParseError("branch to something that is no label", inst.line, inst.text)
            inst.operands[-1] = Sym(self.find_label(last.name, scopes, inst.line, inst.text))
        for table, names in self.kernel.branch_targets.items():
            self.kernel.branch_targets[table] = [
                self.find_label(n, self.table_scopes[table], self.kernel.line, table) for n in names
            ]

    @staticmethod
    def find_label(name: str, scopes: list[dict[str, str]], line: int, text: str) -> str:
        for scope in reversed(scopes):
            if name in scope:
                return scope[name]
        raise ParseError(f"label {name} is not defined", line, text)

    def find_register(self, name: str) -> tuple[int, int] | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def operand(self, text: str) -> Operand:
        if text == "_":
            return Sink()
        if text.startswith("{"):
            if not text.endswith("}"):
                raise ValueError(f"cannot read vector operand {text!r}")
            return Vec(tuple(self.operand(t) for t in split_operands(text[1:-1])))
        if text.startswith("["):
            if not text.endswith("]"):
                raise ValueError(f"cannot read address {text!r}")
            return self.address(text[1:-1].strip())
        if "|" in text:
            first, second = (t.strip() for t in text.split("|", 1))
            return Pair(self.operand(first), self.operand(second))
        negated = text.startswith("!")
        name = text[1:].strip() if negated else text
        found = self.find_register(name)
        if found is not None:
            return Reg(found[0], found[1], name, negated)
        if negated:
            raise ValueError(f"{name} is no register")
        immediate = parse_immediate(text)
        if immediate is not None:
            return immediate
        if _NAME.match(text):
            return Sym(text)
        m = re.match(r"([A-Za-z_$%][\w$]*)\s*\+\s*(-?\w+)$", text)
        if m:
            offset = parse_immediate(m.group(2))
            if offset is not None and isinstance(offset.value, int):
                return Sym(m.group(1), offset.value)
        raise ValueError(f"cannot read operand {text!r}")

    def address(self, text: str) -> Addr:
        m = re.match(r"([\w$%]+)\s*(?:([+-])\s*(-?\w+))?$", text)
        if not m:
            raise ValueError(f"cannot read address [{text}]")
        base = self.operand(m.group(1))
        offset = 0
        if m.group(3):
            value = parse_immediate(m.group(3))
            if value is None or not isinstance(value.value, int):
                raise ValueError(f"cannot read address [{text}]")
            offset = -value.value if m.group(2) == "-" else value.value
        if not isinstance(base, (Reg, Sym, Imm)):
            raise ValueError(f"cannot read address [{text}]")
        return Addr(base, offset)


def parse_variable(statement: str, line: int) -> Variable:
    m = _VARIABLE.match(statement)
    if not m:
        raise ParseError("cannot read variable declaration", line, statement[:100])
    _, space, attributes, type_name, name, dims, initial = m.groups()
    bits = TYPE_BITS.get(type_name)
    if bits is None:
        raise ParseError(f"unknown type .{type_name}", line, statement[:100])
    width = bits // 8
    aligned = re.search(r"\.align\s+(\d+)", attributes)
    vector = re.search(r"\.v([24])\b", attributes)
    element = width * (int(vector.group(1)) if vector else 1)
    size = element
    for dim in re.findall(r"\[\s*(\d*)\s*\]", dims):
        size *= int(dim) if dim else 0
    data = None
    if initial is not None and width == 1 and _BYTES.match(initial):
        data = bytes(int(t) & 0xFF for t in initial.strip("{} ").split(","))
    elif initial is not None:
        values = [t for t in re.split(r"[{},\s]+", initial) if t]
        data = b""
        for t in values:
            imm = parse_immediate(t)
            if imm is None:
                raise ParseError(f"cannot read initial value {t!r} of {name}", line)
            if type_name in ("f32", "f64") and imm.fbits is None:
                data += struct.pack("<f" if width == 4 else "<d", imm.value)
            else:
                raw = imm.fbits if imm.fbits is not None else int(imm.value)
                data += (raw & ((1 << bits) - 1)).to_bytes(width, "little")
    if data is not None:
        if size == 0:
            size = len(data)
        if len(data) > size:
            raise ParseError(f"{name} has more initial values than elements", line)
        data = data.ljust(size, b"\0")
    align = int(aligned.group(1)) if aligned else element
    return Variable(name, space, align, size, data, line)


def parse_params(text: str, line: int) -> list[Param]:
    params, offset = [], 0
    for item in split_operands(" ".join(text.split())):
        m = _PARAM.match(item)
        if not m or m.group(2) not in TYPE_BITS:
            raise ParseError("cannot read kernel parameter", line, item)
        align, type_name, name, count = m.groups()
        width = TYPE_BITS[type_name] // 8
        size = width * int(count) if count else width
        alignment = max(int(align) if align else width, width)
        offset = -(-offset // alignment) * alignment
        params.append(Param(name, type_name, size, alignment, offset))
        offset += size
    return params


@dataclass
class ParsedModule:
    version: str = ""
    target: str = ""
    kernels: dict[str, Kernel] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)


def parse_module(text: str) -> ParsedModule:
    """Parses a whole PTX module."""
    source = _Source(text)
    text = source.text
    module = ParsedModule()
    linkage = {".visible", ".weak", ".extern", ".common", ".internal"}
    position = 0
    while True:
        m = _WORD.search(text, position)
        if not m:
            break
        word, start, line = m.group(0), m.start(), source.line(m.start())
        stray = text[position:start].strip()
        if stray:
            raise ParseError(f"unexpected {stray!r} at module scope", line)
        if word in (".version", ".target", ".address_size"):
            stop = text.find("\n", start)
            stop = len(text) if stop < 0 else stop
            value = text[m.end() : stop].strip()
            if word == ".version":
                module.version = value
            elif word == ".target":
                module.target = value
            elif value != "64":
                raise ParseError("only 64-bit addresses are supported", line)
            position = stop
        elif word in linkage:
            position = m.end()
        elif word == ".section":
            brace = text.index("{", start)
            position = source.match_brace(brace, "section") + 1
        elif word == ".entry":
            position = _parse_entry(source, module, m.end(), line)
        elif word == ".func":
            # Functions cannot be called here; a call says so when its kernel is decoded.
            rest = re.compile(r"[;{]").search(text, start)
            if not rest:
                raise ParseError("function has no end", line)
            position = rest.end()
            if rest.group() == "{":
                position = source.match_brace(rest.start(), "function") + 1
        elif word in (".global", ".const", ".shared"):
            stop = text.find(";", start)
            if stop < 0:
                raise ParseError("variable has no semicolon", line)
            module.variables.append(parse_variable(" ".join(text[start:stop].split()), line))
            position = stop + 1
            continue
        else:
            raise ParseError(f"unknown directive {word!r} at module scope", line)
        while position < len(text) and (text[position].isspace() or text[position] == ";"):
            position += 1
    return module


def _parse_entry(source: _Source, module: ParsedModule, position: int, line: int) -> int:
    text = source.text
    m = re.compile(r"\s*([\w$%]+)\s*").match(text, position)
    if not m:
        raise ParseError("entry has no name", line)
    kernel = Kernel(m.group(1), line, [])
    position = m.end()
    if text[position : position + 1] == "(":
        close = text.index(")", position)
        kernel.parameters = parse_params(text[position + 1 : close], line)
        position = close + 1
    brace = text.find("{", position)
    if brace < 0:
        raise ParseError(f"entry {kernel.name} has no body", line)
    for d in re.finditer(r"\.(\w+)\s*([\d,\s]*)", text[position:brace]):
        kernel.directives[d.group(1)] = tuple(int(n) for n in re.findall(r"\d+", d.group(2)))
    end = source.match_brace(brace, f"entry {kernel.name}")
    _KernelParser(source, kernel).parse(brace + 1, end)
    module.kernels[kernel.name] = kernel
    return end + 1
