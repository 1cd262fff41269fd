"""Installs Personae: `pip install -e .` (add `-c constraints.txt` for the exact versions that the tests ran with)."""

from setuptools import find_packages, setup

TENSORFLOW = '2.15.1'  # The newest line on which Addons, Graphics and custom train steps under tf.distribute all work.

setup(
    name='personae',
    version='0.1.0',
    description='Adversarial face synthesis in TensorFlow 2: GC-GAN, GANFaces, FaceCycle and Face-off.',
    license='Apache-2.0',
    packages=find_packages(include=['losses*', 'models*', 'input_pipeline*', 'evaluate*', 'train*']),
    package_data={'models.face3d': ['*.npz', '*.txt'], 'models.pretrained': ['*/*']},
    python_requires='>=3.11,<3.12',
    install_requires=[
        f'tensorflow=={TENSORFLOW}',
        'tensorflow-addons==0.23.0',
        'tensorflow-graphics==2021.12.3',
        'tensorflow-datasets>=4.9.3,<4.10',
        'tensorflow-metadata<1.18',  # Newer code wants protobuf 5; `import tensorflow_datasets` would then half fail.
        'importlib_resources',  # TensorFlow Datasets needs it and does not declare it.
        'setuptools<81',  # TensorBoard 2.15 imports pkg_resources.
        'array-record>=0.5,<0.9',
        'numpy>=1.23.5,<2',
        'absl-py>=1.4',
        'dlib-bin>=20,<21',  # Wheels; plain `dlib` compiles for minutes and needs cmake.
        'face-recognition-models==0.3.0',  # dlib's landmark and descriptor networks (CC0).
        'imageio>=2.31',
        'imageio-ffmpeg>=0.4.9',  # Brings its own ffmpeg.
        'matplotlib>=3.7',
        'pillow>=11',  # Older ones leave the provenance out of a JPEG.
        'psutil>=5.9',
        'pyarrow>=14,<26',  # 26 wants NumPy 2 and does not declare it.
        'scikit-image>=0.21',
        'scikit-learn>=1.3',
        'scipy>=1.10',
        'threadpoolctl>=3',
    ],
    extras_require={
        'test': ['pytest>=8', 'pytest-xdist>=3.6', 'ruff>=0.6', 'pyright>=1.1.380'],
        'gpu': [f'tensorflow[and-cuda]=={TENSORFLOW}'],
        'mtcnn': ['mtcnn==1.0.0'],  # MIT; runs on TensorFlow, carries its weights (`prepare --detector=mtcnn`).
        'beam': ['apache-beam>=2.60,<3'],
    },
)
