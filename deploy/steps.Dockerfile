# Everything that runs or schedules a step: Airflow's services, its workers, MLflow.
FROM python:3.11-slim
# A new volume mounted on /backups belongs to its owner here.
RUN useradd --system --uid 10001 --home-dir /var/lib/loupe --create-home loupe \
    && install --directory --owner loupe --mode 0750 /backups
ENV PYTHONUNBUFFERED=1 LOUPE_HOME=/var/lib/loupe LOUPE_LINES=/app/lines
WORKDIR /app
# A line's folder below `.loupe`, as the demo's, so lies in the volume of LOUPE_HOME.
RUN ln -s /var/lib/loupe .loupe
# The liveness probes and log groomers of the official Helm chart start these.
COPY deploy/entrypoint.sh /entrypoint
COPY deploy/clean_logs.sh /clean-logs
# Where workers have an NVIDIA GPU: `onnxruntime-gpu[cuda,cudnn]`, the same version with CUDA.
ARG ONNXRUNTIME=onnxruntime
COPY requirements.lock ./
# torch first and by itself: the lock then accepts the build that is there.
RUN sed --in-place "s/^onnxruntime==/${ONNXRUNTIME}==/" requirements.lock \
    && pip install --no-cache-dir torch==2.13.0 torchvision==0.28.0 \
    && pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ml/ ml/
COPY serving/ serving/
RUN pip install --no-cache-dir --no-deps .
COPY dags/ dags/
COPY plugins/ plugins/
COPY lines/ lines/
USER 10001
CMD ["loupe", "--help"]
