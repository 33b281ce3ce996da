"""The tables of a noise schedule are computed once for each device."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from orster_cli.diffusion.schedule import NoiseSchedule

STEPS = torch.tensor([0, 500, 999])


def test_equal_schedules_share_their_table_and_others_do_not() -> None:
    one = NoiseSchedule(prediction_type="epsilon").alphas_cumprod
    assert one is NoiseSchedule(prediction_type="v_prediction").alphas_cumprod
    assert one is not NoiseSchedule(beta_end=0.02).alphas_cumprod
    assert one is not NoiseSchedule(rescale_betas_zero_snr=True).alphas_cumprod
    assert NoiseSchedule().log_snr() is NoiseSchedule().log_snr()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    assert torch.equal(one, (1 - betas).cumprod(0))


def test_a_step_computes_no_table(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    schedule = NoiseSchedule(beta_end=0.0121)
    want = schedule.signal_and_noise(STEPS)

    def computed(self: NoiseSchedule) -> torch.Tensor:
        raise AssertionError("computed again")

    computed.__name__ = "_alphas_cumprod"
    monkeypatch.setattr(NoiseSchedule, "_alphas_cumprod", computed)
    for a, b in zip(schedule.signal_and_noise(STEPS), want, strict=True):
        assert torch.equal(a, b)


def test_tensors_of_a_mode_do_not_leave_it() -> None:
    schedule = NoiseSchedule(beta_end=0.0123)
    for known in (False, True):
        with FakeTensorMode():
            a, _ = schedule.signal_and_noise(torch.zeros(2, dtype=torch.long))
            assert type(a) is not torch.Tensor, known
        with torch.device("meta"):
            assert schedule.alphas_cumprod.device.type == "cpu"
            assert schedule.signal_and_noise(STEPS.to("meta"))[0].device.type == "meta"
        with torch.inference_mode():
            schedule.signal_and_noise(STEPS)
        a, s = schedule.signal_and_noise(STEPS)
        assert not schedule.alphas_cumprod.is_inference()
        torch.testing.assert_close(a.square() + s.square(), torch.ones(3))
        weight = torch.ones(3, requires_grad=True)
        (schedule.predict_clean(weight, weight, STEPS).sum()).backward()
