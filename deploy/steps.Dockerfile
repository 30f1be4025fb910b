# Airflow, its workers and MLflow: everything that runs a step.
FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 LOUPE_HOME=/var/lib/loupe LOUPE_LINES=/app/lines
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir torch==2.13.0 torchvision==0.28.0 \
    && pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ml/ ml/
COPY serving/ serving/
COPY dags/ dags/
COPY plugins/ plugins/
COPY lines/ lines/
RUN pip install --no-cache-dir --no-deps . && useradd --system --home-dir /var/lib/loupe --create-home loupe
USER loupe
