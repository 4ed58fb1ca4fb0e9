"""refimpl as an engine of the MaskBench harness: compile, reset, mask, advance.

The harness reads this file itself and provides `Engine`.  A schema that nothing satisfies is an
error in the library; here it becomes an engine that allows no token, so that rejecting every
instance counts as what it is.  `refimpl_annotate` reads `format` as an annotation, which is the
default of draft 2020-12 and what the JSON-Schema-Test-Suite asks.
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from backends.numba import grammar_constraint
from backends.numba.grammar import CompiledTries
from refimpl.grammar.assertions import SchemaOptions
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.json_states import UnsatisfiableError
from refimpl.grammar.masks import Vocabulary


class Refimpl(Engine):
    options = SchemaOptions()

    def __init__(self, v):
        super().__init__(v)
        self.vocabulary = Vocabulary.of(v.tokens, [v.eos])
        self.tries = CompiledTries(self.vocabulary)
        self.nothing = np.zeros(-(-v.size // 32), np.uint32)

    def compile_schema(self, schema):
        return grammar_constraint.compile_json_schema(
            schema, self.vocabulary, self.tries, options=self.options
        )

    def compile(self, schema):
        try:
            self.constraint = self.compile_schema(schema)
        except UnsatisfiableError:
            self.constraint = None

    def reset(self):
        if self.constraint:
            self.state = self.constraint.start

    def mask(self):
        return self.constraint.mask(self.state) if self.constraint else self.nothing

    def advance(self, token):
        self.state = self.constraint.advance(self.state, token)
        return True


class RefimplNumpy(Refimpl):
    def compile_schema(self, schema):
        return compile_json_schema(schema, self.vocabulary, options=self.options)


class RefimplAnnotate(Refimpl):
    options = SchemaOptions(formats=False)


ENGINES = {"refimpl": Refimpl, "refimpl_numpy": RefimplNumpy, "refimpl_annotate": RefimplAnnotate}
