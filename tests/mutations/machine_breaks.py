"""Breaks of the reading rules: one piece of source each."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mutations.breaks import MACHINE, Break

_READING = {
    "a length may reach past the end": ("if length > self.size - begin:", "if length > self.size:"),
    "an argument may cross the end of a frame": ("if begin < self.frame_end < self.pos:", "if False:"),
    "a line may cross the end of a frame": ("if self.pos < self.frame_end < match.end():", "if False:"),
    "a torn frame is not noted": ('self._odd("torn", reason)', "pass"),
    "a torn frame is forgotten": ("self.torn = self.torn or (self.offset, reason)", "pass"),
    "numbers have no sign": ('"little", signed=signed)', '"little", signed=False)'),
    "numbers are big-endian": ('"little", signed=signed)', '"big", signed=signed)'),
    "a line has no budget": ("min(self.size, self.pos + self.budget.line)", "self.size"),
    "a line beyond its budget is the last one": ("if self.size - self.pos > self.budget.line:", "if False:"),
    "the last line keeps its last byte": ("self.data[self.pos : self.size - 1]", "self.data[self.pos : self.size]"),
    "the last line is not noted": ('self._odd("line", "a line without end")', "pass"),
    "text refuses surrogates": ('"utf-8", "surrogatepass")', '"utf-8")'),
}

_VALUES = {
    "POP does not take a mark": (
        "            self.stack.pop()\n        else:\n            self._pop_mark()",
        "            self.stack.pop()\n        else:\n            self.stack.pop()",
    ),
    "PUT takes negative indexes": ("        if index < 0:\n            raise", "        if False:\n            raise"),
    "MEMOIZE counts by the highest index": (
        "self._put(len(self.memo) + len(self.far))",
        "self._put(max(self.far) + 1)",
    ),
    "what was put behind a gap is lost": ("            self.far[index] = self.stack[-1]", "            pass"),
    "an entry of the memo cannot be put anew": ("            self.memo[index] = self.stack[-1]", "            pass"),
    "the memo grows although it has a gap": (
        "if index == len(self.memo) and not self.far:",
        "if index == len(self.memo):",
    ),
    "a negative index counts from the end": ("if 0 <= index < len(self.memo) else", "if index < len(self.memo) else"),
    "a sparse memo is not noted": ("if index > _SPARSE_MEMO and", "if False and"),
    "INT has no booleans": ('if line in (b"00", b"01") else', "if False else"),
    "an empty INT is a number": (
        '        if not line:\n            raise BrokenStreamError("an INT without digits")',
        '        if not line:\n            line = b"0"',
    ),
    "an empty LONG is a number": (
        '        if not line:\n            raise BrokenStreamError("a LONG without digits")',
        '        if not line:\n            line = b"0"',
    ),
    "LONG keeps its L": ('line.removesuffix(b"L")', "line"),
    "LONG loses every L": ('line.removesuffix(b"L")', 'line.rstrip(b"L")'),
    "a number is read beyond a NUL byte": (
        'text = line.partition(b"\\0")[0]\n        if len(text)',
        'text = line.replace(b"\\0", b"")\n        if len(text)',
    ),
    "a number may have any length": ("if len(text) > _LONGEST_DECIMAL:", "if False:"),
    "an odd number is not noted": ('self._odd("number", "a number that readers read differently")', "pass"),
    "a number that begins with a NUL byte is refused": ("if not text and line:", "if False:"),
    "the old octal notation is decimal": ("return int(text, 8)", "return int(text, 10)"),
    "leading zeros are refused": ("int(text, 10) if _LEADING_ZERO.match(text) else int(text, 0)", "int(text, 0)"),
    "numbers are decimal": (
        "int(text, 10) if _LEADING_ZERO.match(text) else int(text, 0)",
        "int(text, 10)",
    ),
    "LONG4 takes negative lengths": (
        "length = self._number(4, signed=True)\n        if length < 0:",
        "length = self._number(4)\n        if False:",
    ),
    "FLOAT reads beyond a NUL byte": ('float(self._line().partition(b"\\0")[0])', "float(self._line())"),
    "BINFLOAT is little-endian": ('_FLOAT64 = struct.Struct(">d")', '_FLOAT64 = struct.Struct("<d")'),
    "STRING needs no quotes": ("or line[:1] not in (b\"'\", b'\"'):", "or False:"),
    "STRING has quotes that differ": ("if len(line) < 2 or line[0] != line[-1]", "if len(line) < 2 or False"),
    "STRING keeps escapes": ("codecs.escape_decode(line[1:-1])[0]", "line[1:-1]"),
    "the length of BINSTRING has a sign": (
        "        length = self._number(4)\n        if length > _SIGNED:",
        "        length = self._number(4, signed=True)\n        if length > _SIGNED:",
    ),
    "a large BINSTRING is not noted": ("if length > _SIGNED:", "if False:"),
    "an old string that is not ASCII is text": (
        'if value.isascii():\n            self.stack.append(value.decode("ascii"))',
        'if True:\n            self.stack.append(value.decode("latin1"))',
    ),
    "UNICODE keeps escapes": ('str(self._line(), "raw-unicode-escape")', 'str(self._line(), "utf-8")'),
    "a bytearray is bytes": ("self._blob(self._number(8), mutable=True)", "self._blob(self._number(8))"),
    "room for bytes that are missing is not noted": ("if length > _LARGE:", "if False:"),
    "TUPLE2 turns around": ("(self.stack.pop(), last)", "(last, self.stack.pop())"),
    "TUPLE3 turns around": ("(self.stack.pop(), middle, last)", "(last, middle, self.stack.pop())"),
    "nodes have no budget": ("if self.nodes > self.budget.nodes:", "if False:"),
    "the budget of nodes is off by one": ("if self.nodes > self.budget.nodes:", "if self.nodes >= self.budget.nodes:"),
    "a frozenset is a set": ("SetNode(items, frozen=True)", "SetNode(items)"),
    "an odd number of keys and values loses one": ("if len(items) % 2:", "if False:"),
    "a memo index may have a NUL byte": ('int(line.partition(b"\\0")[0], 10)', "int(line, 10)"),
    "a memo index may have any length": ("if len(line) > _LONGEST_DECIMAL:", "if False:"),
    "a memo index has a prefix": ('int(line.partition(b"\\0")[0], 10)', 'int(line.partition(b"\\0")[0], 0)'),
    "hashing costs nothing": (
        "        if self.hashing > _HASHING:\n            self._odd",
        "        if False:\n            self._odd",
    ),
    "keys in DICT are not weighed": (
        "        self._hashed(items[::2])\n        self._push(Dictionary",
        "        self._push(Dictionary",
    ),
    "members of FROZENSET are not weighed": (
        "        self._hashed(items)\n        self._push(SetNode",
        "        self._push(SetNode",
    ),
    "a key may be of any depth": ("if len(path) > _DEEPEST_KEY:", "if False:"),
    "what a key holds twice is weighed once": (
        "                    sizes[-1] += size\n            else:",
        "                    pass\n            else:",
    ),
    "a long key is free": ("small = len(key) <= _SMALL_KEY and", "small = True or"),
}

_MACHINE = {
    "the opcode budget is off by one": ("range(1, limit + 1)", "range(1, limit)"),
    "the opcode budget does not count": ("range(1, limit + 1)", "range(1, 1 << 40)"),
    "the end without STOP is a result": (
        'raise BrokenStreamError("the stream ends without STOP")',
        "break",
    ),
    "an unknown opcode is skipped": (
        "if data[position] != Op.STOP:\n",
        "if data[position] != Op.STOP:\n                        continue\n",
    ),
    "a budget is not told from a break": ("graph.budget_hit = isinstance(error, OutOfBudgetError)", "pass"),
    "a stream may end inside of its frame": (
        "if graph.failure is None and self.pos < self.frame_end <= size:",
        "if False:",
    ),
    "a torn stream has a result": ("if self.torn is not None and graph.failure is None:", "if False:"),
    "GLOBAL is ASCII": ('module = str(self._line(), "utf-8")', 'module = str(self._line(), "ascii")'),
    "INST is UTF-8": ('module = str(self._line(), "ascii")', 'module = str(self._line(), "utf-8")'),
    "the name of INST is UTF-8": (
        '        name = str(self._line(), "ascii")',
        '        name = str(self._line(), "utf-8")',
    ),
    "STACK_GLOBAL turns around": (
        "name, module = self.stack.pop(), self.stack.pop()",
        "module, name = self.stack.pop(), self.stack.pop()",
    ),
    "a computed name ends the stream": ("elif _is_computed(name) or _is_computed(module):", "elif False:"),
    "a name of anything is computed": ("elif _is_computed(name) or _is_computed(module):", "elif True:"),
    "a computed module is not looked at": (
        "elif _is_computed(name) or _is_computed(module):",
        "elif _is_computed(name):",
    ),
    "a computed name is not looked at": (
        "elif _is_computed(name) or _is_computed(module):",
        "elif _is_computed(module):",
    ),
    "Python 2 names are kept": ("if self.graph.protocol < 3:", "if False:"),
    "Python 3 names are renamed": ("if self.graph.protocol < 3:", "if True:"),
    "names with two parts are not renamed": ("if renamed is not None:", "if False:"),
    "modules are not renamed": (
        "return _compat_pickle.IMPORT_MAPPING.get(module, module), name",
        "return module, name",
    ),
    "a name as written is forgotten": ("self.offset, (module, name))", 'self.offset, ("", ""))'),
    "EXT2 is EXT1": ("self._extension(self._number(2))", "self._extension(self._number(1))"),
    "EXT4 has no sign": ("self._extension(self._number(4, signed=True))", "self._extension(self._number(4))"),
    "REDUCE turns around": (
        "args, target = self.stack.pop(), self.stack.pop()\n        self._call(CallKind.REDUCE",
        "target, args = self.stack.pop(), self.stack.pop()\n        self._call(CallKind.REDUCE",
    ),
    "NEWOBJ turns around": (
        "args, target = self.stack.pop(), self.stack.pop()\n        self._call(CallKind.NEWOBJ,",
        "target, args = self.stack.pop(), self.stack.pop()\n        self._call(CallKind.NEWOBJ,",
    ),
    "NEWOBJ_EX turns around": (
        "kwargs, args, target = self.stack.pop(), self.stack.pop(), self.stack.pop()",
        "args, kwargs, target = self.stack.pop(), self.stack.pop(), self.stack.pop()",
    ),
    "NEWOBJ is REDUCE": ("self._call(CallKind.NEWOBJ, ", "self._call(CallKind.REDUCE, "),
    "OBJ keeps its class among the arguments": ("tuple(items[1:])", "tuple(items)"),
    "INST looks for its mark first": (
        "found = self._named(module, name)  #",
        "self._pop_mark(), self.mark()\n        found = self._named(module, name)  #",
    ),
    "PERSID is not ASCII": (
        'self._persistent(str(self._line(), "ascii"))',
        'self._persistent(str(self._line(), "latin1"))',
    ),
    "READONLY_BUFFER does nothing": ("if isinstance(buffer, OutOfBand):", "if False:"),
    "READONLY_BUFFER takes anything": ("elif not isinstance(buffer, Blob):", "elif False:"),
    "BUILD takes the newest state only": ("_extended(target.states, [state])", "[state]"),
    "a state may change after BUILD": ("len(state.pairs) != length:", "False:"),
    "a frozenset can be added to": ("isinstance(target, SetNode) and not target.frozen", "isinstance(target, SetNode)"),
    "keys of SETITEM are not weighed": ("        self._hashed([key])\n", ""),
    "keys of SETITEMS are not weighed": (
        "        self._hashed(items[::2])\n        # Python's own",
        "        # Python's own",
    ),
    "members of ADDITEMS are not weighed": ("        self._hashed(items)\n        target", "        target"),
    "SETITEMS loses whole pairs before an odd key": (
        "pairs_of(items[: len(items) // 2 * 2]))\n        pairs_of(items)",
        "pairs_of(items))",
    ),
    "SETITEMS forgives an odd key": ("* 2]))\n        pairs_of(items)", "* 2]))"),
    "changes of others are not told": ("self.graph.mutations.append(", "len(self.graph.mutations) or print("),
    "any protocol exists": ("if protocol > HIGHEST_PROTOCOL:", "if False:"),
    "PROTO in the middle is not noted": ("if self.offset != self.graph.start:", "if False:"),
    "a frame beyond the end is not noted": ('self._odd("frame", "a frame that reaches past the end")', "pass"),
    "a frame may cross the end of another": ("if self.pos < self.frame_end < end:", "if False:"),
    "an inner frame ends the outer one": ("self.frame_end = max(self.frame_end, end)", "self.frame_end = end"),
    "an old string is a name": ("isinstance(value, Blob) and value.text", "False"),
    "a call is no computed name": ("isinstance(value, Call | Global |", "isinstance(value, Global |"),
    "a global is no computed name": ("isinstance(value, Call | Global |", "isinstance(value, Call |"),
    "an extension is no computed name": (
        "Global | Extension | Persistent | OutOfBand",
        "Global | Persistent | OutOfBand",
    ),
    "a persistent object is no computed name": ("Extension | Persistent | OutOfBand", "Extension | OutOfBand"),
    "a buffer is no computed name": ("Persistent | OutOfBand | Opaque", "Persistent | Opaque"),
    "an unread literal is no computed name": ("Persistent | OutOfBand | Opaque", "Persistent | OutOfBand"),
}


def machine_breaks() -> Iterator[Break]:
    """Breaks of ``reading.py``, ``values.py`` and ``machine.py``."""
    for module, listed in (("reading", _READING), ("values", _VALUES), ("machine", _MACHINE)):
        for name, replace in listed.items():
            yield Break(name=name, tests=MACHINE, module=f"aiverify.pickles.{module}", replace=replace)
