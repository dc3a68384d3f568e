"""The command `bvverify inspect`."""

import dataclasses

from bvverify.cli.options import FactoryOption, InputShapeOption, JsonOption, ModelArgument, read_shape
from bvverify.cli.output import out, write_json
from bvverify.exit_codes import reported
from bvverify.load.factory import read_factory


def inspect(
    model: ModelArgument,
    *,
    input_shape: InputShapeOption = None,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show a model's layers, accumulators, pairs of products that can saturate, and the targets modelled for it."""
    with reported():
        from bvverify.kernels.inspection import inspect as gather
        from bvverify.load import load_model
        from bvverify.report.tables import layer_table, support_table

        shape = None if input_shape is None else read_shape(input_shape)
        deployed = load_model(model, input_shape=shape, factory=read_factory(factory))
        facts = gather(deployed.model, name=deployed.name, digest=deployed.digest)
        out.print(layer_table(facts))
        out.print(support_table(facts))
        if json_path is not None:
            write_json(json_path, dataclasses.asdict(facts))
