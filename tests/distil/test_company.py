import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes

from shoal.distil import company

LAUNCH = ["torch.distributed.run", "--nproc_per_node", "2", "--standalone"]


def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    script = str(Path(two_processes.__file__))
    subprocess.run([sys.executable, "-m", *LAUNCH, script, str(tmp_path / "two")], check=True, capture_output=True, timeout=120)
    made = torch.load(tmp_path / "two" / "made.pt", weights_only=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    student, trained = two_processes.learn(tmp_path / "one")
    torch.set_num_threads(before)
    assert made["figures"]["count"] == 2 and made["figures"]["steps"] == trained.steps
    assert made["figures"]["dev_loss"] == pytest.approx(trained.dev_loss, rel=1e-4)
    assert trained.dev_loss < trained.untrained_dev_loss / 2
    for name, values in student.state_dict().items():
        assert torch.allclose(made["weights"][name], values, atol=1e-4), name


def test_a_process_alone_is_a_company_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    company.join()
    assert company.count() == 1 and company.is_first() and company.share(range(3)) == [0, 1, 2]
    number = torch.ones(2)
    company.add_up([number])
    assert torch.equal(number, torch.ones(2)) and company.add_up_number(2.5) == company.agree(2.5) == 2.5
    assert company.device().type in ("cpu", "cuda")
    company.wait()
    company.leave()
