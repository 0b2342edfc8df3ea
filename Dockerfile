# An image for `lopt launch gke --image`: lopt from its wheel, other packages as constraints.txt pins
# them. --build-arg=EXTRAS=train,data,tpu,gcs is for TPUs with a bucket, cuda for GPUs.
#
#     docker build --tag=REGISTRY/lopt:1 --build-arg=EXTRAS=train,data,tpu,gcs .

FROM python:3.12-slim AS build
COPY . /lopt
RUN pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels /lopt

FROM python:3.12-slim
ARG EXTRAS=train
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint=/tmp/constraints.txt "$(ls /wheels/*.whl)[$EXTRAS]" \
    && lopt --help
