"""Imports that leave out what a process does not need, or that must not meet another library."""

import subprocess
import sys

import pytest

from covid_monai.core.lazy_imports import hide_modules


@pytest.mark.slow
def test_what_is_imported_to_predict_is_no_garbage_and_the_rest_is_collected():
    script = (
        "import gc; from covid_monai.core.lazy_imports import import_monai_for_prediction as start; start();"
        "print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_hidden_module_is_there_again_behind_the_block():
    with hide_modules("mailbox"), pytest.raises(ModuleNotFoundError, match="mailbox"):
        import mailbox
    import mailbox

    assert mailbox.Mailbox


def test_modules_that_are_loaded_are_not_hidden_and_an_error_brings_the_others_back():
    def fails():
        with hide_modules("json", "mailbox"):
            import json

            raise KeyError(json.loads("7"))

    with pytest.raises(KeyError, match="7"):
        fails()
    assert "mailbox" not in sys.modules or sys.modules["mailbox"] is not None


@pytest.mark.slow
def test_a_prediction_loads_none_of_the_named_packages():
    script = (
        "import sys; from covid_monai.core.lazy_imports import import_monai_for_prediction as start, "
        "NOT_FOR_PREDICTION; start(); import monai.transforms; "
        "print([name for name in NOT_FOR_PREDICTION if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_faiss_works_beside_gdcm_in_either_order():
    for order in ("import gdcm; faiss = import_faiss()", "faiss = import_faiss(); import gdcm"):
        script = (
            f"import sys; from covid_monai.core.lazy_imports import import_faiss; {order}; "
            "index = faiss.IndexFlatL2(2); import numpy; index.add(numpy.eye(2, dtype='float32')); "
            "assert import_faiss() is faiss; "
            "gdcm.DataSet(); print(index.search(numpy.eye(2, dtype='float32'), 1)[1].ravel().tolist(), "
            "any(name.startswith('swig_runtime_data') for name in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[0, 1] True", done.stderr
