"""Writes a checkpoint of Spleeter's published layout with random weights. Runs in the environment of requirements.txt.

    python checkpoint.py STEMS FOLDER

FOLDER gets the files that Spleeter 2.4.2 and TensorFlow write for the networks of so many stems: 2, 4 or 5.
"""

import os
import sys
from pathlib import Path

INPUT_GAIN = 0.01


def main() -> None:
    stems, folder = int(sys.argv[1]), Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from spleeter.model import InputProviderFactory, model_fn
    from spleeter.utils.configuration import load_configuration

    parameters = load_configuration(f"spleeter:{stems}stems") | {"MWF": False}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(stems)
        features = InputProviderFactory.get(parameters).get_input_dict_placeholders()
        model_fn(features, None, tf.estimator.ModeKeys.PREDICT, parameters)
        tf.compat.v1.train.get_or_create_global_step()
        changes = []
        for variable in tf.compat.v1.global_variables():
            if "batch_normalization" in variable.name:  # else the same in every layer
                low, high = (-0.2, 0.2) if variable.name.endswith(("beta:0", "moving_mean:0")) else (0.5, 1.5)
                changes.append(tf.compat.v1.assign(variable, tf.random.uniform(variable.shape, low, high)))
            elif variable.shape[-2:] == (2, 16):  # a first layer: magnitudes in the hundreds come down to ones
                changes.append(tf.compat.v1.assign(variable, variable * INPUT_GAIN))
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(changes)
        tf.compat.v1.train.Saver().save(session, str(folder / "model"))
    (folder / ".probe").write_text("OK")  # Spleeter takes a folder with this file for complete


if __name__ == "__main__":
    main()
