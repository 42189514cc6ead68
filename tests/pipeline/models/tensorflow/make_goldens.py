"""Ask TensorFlow DeepLab's own code what the networks of ``cases.py`` answer, and keep that.

Not run by the tests. It needs an environment of its own (tensorflow-cpu 2.15, tf_keras 2.15,
tf_slim) and a checkout of research/deeplab and research/slim/nets of github.com/tensorflow/models
at commit 34a3581c0e09c293cd67b5ac2d64e8bc753cefce:

    python make_goldens.py CHECKOUT/research [CASE…]

Of each case it writes to golden/: the frozen graph that export_model.py makes, without the values
of its variables, and the index of the checkpoint (both xz), and an .npz with the logits and the
labels for the picture of ``seeded.picture``. The values of the variables are ``seeded.variable``.
"""

import importlib
import lzma
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim
from cases import CASES, Case
from seeded import picture, variable
from tf_slim.layers import initializers, layers, regularizers, utils
from tf_slim.nets import resnet_utils

GOLDEN = Path(__file__).parent / "golden"
STEP = 1234
_KEPT_VALUES = 16  # constants of the graph itself (sizes, paddings) have fewer


def stand_in_for_tensorflow_1(research: Path) -> None:
    """What that code imports and TensorFlow 2 has elsewhere."""
    tf.disable_v2_behavior()
    for name in ("int", "float", "bool"):
        setattr(np, name, __builtins__.__dict__[name])
    merged = types.ModuleType("tensorflow.contrib.layers")
    for source in (slim, initializers, regularizers, layers):
        merged.__dict__.update({k: v for k, v in vars(source).items() if not k.startswith("__")})
    merged.layers, merged.utils = layers, utils
    nets = types.ModuleType("nets")
    nets.resnet_utils = resnet_utils
    contrib = types.ModuleType("tensorflow.contrib")
    training = types.ModuleType("training")
    training.HParams = object
    quantize = types.ModuleType("quantize")
    known = {"slim": slim, "framework": slim, "layers": merged, "training": training}
    known["quantize"] = quantize
    sys.modules |= {"tensorflow": tf, "tensorflow.contrib": contrib}
    for name, module in known.items():
        setattr(contrib, name, module)
        sys.modules[f"tensorflow.contrib.{name}"] = module
    sys.modules["tensorflow.contrib.slim.nets"] = nets
    sys.modules["tensorflow.contrib.layers.python"] = merged
    sys.modules["tensorflow.contrib.layers.python.layers"] = merged
    tf.contrib = contrib
    for name in ("", ".base", ".convolutional", ".core", ".normalization", ".pooling"):
        sys.modules[f"tf_keras.legacy_tf_layers{name}"] = importlib.import_module(
            f"tf_keras.src.legacy_tf_layers{name}"
        )
    # What Keras called so until TensorFlow 2.6; resnet_v1_beta.py's convolutions are Keras layers.
    tf.keras.layers.Conv2D._convolution_op = tf.keras.layers.Conv2D.convolution_op
    sys.path[:0] = [str(research), str(research / "slim")]


def write_checkpoint(case: Case, folder: Path) -> Path:
    """The network's checkpoint with seeded values, by tf.train.Saver as train.py does."""
    from deeplab import common, model

    with tf.Graph().as_default():
        height, width = case.flags["crop_size"]
        options = common.ModelOptions(
            outputs_to_num_classes={common.OUTPUT_TYPE: case.flags["num_classes"]},
            crop_size=(height, width),
            atrous_rates=case.flags["atrous_rates"],
            output_stride=case.flags["output_stride"],
        )
        model.predict_labels(tf.zeros([1, height, width, 3]), options)
        if case.momentum:
            for kept in list(tf.trainable_variables()):
                tf.get_variable(f"{kept.op.name}/Momentum", kept.shape, trainable=False)
        tf.train.create_global_step()
        with tf.Session() as session:
            for held in tf.global_variables():
                shape = tuple(held.shape.as_list())
                held.load(variable(held.op.name, shape) if shape else STEP, session)
            return Path(tf.train.Saver().save(session, str(folder / "model.ckpt"), STEP))


def freeze(case: Case, checkpoint: Path, folder: Path) -> Path:
    """The frozen graph, by the project's own export_model.py."""
    from deeplab import export_model

    set_flags(case)
    frozen = folder / "frozen_inference_graph.pb"
    tf.app.flags.FLAGS.checkpoint_path = str(checkpoint)
    tf.app.flags.FLAGS.export_path = str(frozen)
    export_model.main(None)
    return frozen


def set_flags(case: Case) -> None:
    """The case's flags, every other one at its default."""
    from deeplab import common, export_model

    assert common and export_model  # they define the flags
    flags = tf.app.flags.FLAGS
    for name in flags:
        flags[name].unparse()
    flags([sys.argv[0]])
    for name, value in case.flags.items():
        setattr(flags, name, value)


def answers(case: Case, frozen: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The GraphDef, and what it says of the case's picture."""
    graph_def = tf.GraphDef.FromString(frozen.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        last = [node.name for node in graph_def.node if node.name.startswith("logits/semantic")]
        biased = next(name for name in last if name.endswith("/BiasAdd"))
        with tf.Session(graph=graph) as session:
            shown = picture(*case.picture_hw)[None]
            logits, labels = session.run(
                [f"{biased}:0", "SemanticPredictions:0"], {"ImageTensor:0": shown}
            )
    return graph_def, {"logits": logits[0], "labels": labels[0].astype(np.uint8)}


def without_values(graph_def: Any) -> bytes:
    """The graph, its variables' values left out, their names and shapes not."""
    for node in graph_def.node:
        held = node.attr["value"].tensor if node.op == "Const" else None
        if held is not None and len(held.tensor_content) > 4 * _KEPT_VALUES:
            held.ClearField("tensor_content")
        elif held is not None and node.name.endswith(("weights", "biases", "gamma", "beta")):
            held.ClearField("float_val")
    return graph_def.SerializeToString(deterministic=True)


def make(case: Case) -> None:
    """Write the goldens of one case."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        set_flags(case)
        checkpoint = write_checkpoint(case, folder)
        frozen = freeze(case, checkpoint, folder)
        graph_def, expected = answers(case, frozen)
        GOLDEN.mkdir(exist_ok=True)
        index = checkpoint.with_name(checkpoint.name + ".index").read_bytes()
        (GOLDEN / f"{case.name}.index.xz").write_bytes(lzma.compress(index))
        (GOLDEN / f"{case.name}.pb.xz").write_bytes(lzma.compress(without_values(graph_def)))
        np.savez_compressed(GOLDEN / f"{case.name}.npz", **expected)
        print(case.name, expected["logits"].shape, float(np.abs(expected["logits"]).max()))
        if len(sys.argv) > 3 and sys.argv[2] == "--keep":
            shutil.copytree(folder, sys.argv[3], dirs_exist_ok=True)


def main() -> None:
    """All cases, or those named."""
    stand_in_for_tensorflow_1(Path(sys.argv[1]).resolve())
    wanted = set(sys.argv[2:])
    for case in CASES:
        if not wanted or case.name in wanted:
            make(case)


if __name__ == "__main__":
    main()
