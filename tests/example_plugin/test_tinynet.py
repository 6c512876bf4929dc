from zoo.testing import check_model, check_step


def test_tinynet():
    check_model("tinynet", options={"width": 8})


def test_destripe():
    check_step("destripe")
