"""The steps in which numba compiles a kernel, less those that do nothing for it, and lending."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, IRProcessing

from k8slab.kernels._lending import Borrowing, LoweringOfLent


@register_pass(mutates_CFG=True, analysis_only=False)
class _Closures(InlineClosureLikes):
    """numba's own, which takes its time also where there is none."""

    _name = "closures"

    def run_pass(self, state: Any) -> bool:
        """Whether there was one."""
        blocks = state.func_ir.blocks.values()
        if any(each.op == "make_function" for block in blocks for each in block.find_exprs()):
            return bool(super().run_pass(state))
        return False


@register_pass(mutates_CFG=True, analysis_only=False)
class _ArrayExpressions(NopythonRewrites):
    """numba's own, which takes its time also where all is done number by number."""

    _name = "array_expressions"

    def run_pass(self, state: Any) -> bool:
        """Whether something makes an array."""
        made = (each.return_type for each in state.calltypes.values() if each is not None)
        return any(isinstance(kind, types.Array) for kind in made) and bool(super().run_pass(state))


_OURS = {InlineClosureLikes: _Closures, NopythonRewrites: _ArrayExpressions, NativeLowering: LoweringOfLent}


class Pipeline(CompilerBase):
    """One pipeline."""

    def define_pipelines(self) -> list[Any]:
        """numba's, with ours in their places."""
        steps = DefaultPassBuilder.define_nopython_pipeline(self.state)
        steps.passes = [(_OURS.get(step, step), told) for step, told in steps.passes]
        steps.add_pass_after(Borrowing, IRProcessing)
        steps.finalize()
        return [steps]
