#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# middleware.sh TREE: units and configuration of one Kafka and one Etcd in a machine image, Kafka's storage formatted.
# Agents reach Kafka as middleware1:9092; the tests come through an ssh tunnel and are told 127.0.0.1:19092.
set -eu

tree=$1
mkdir -p "$tree/etc/kafka" "$tree/var/lib/kafka"
cat >"$tree/etc/kafka/server.properties" <<'PROPERTIES'
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://0.0.0.0:9092,TESTS://127.0.0.1:19092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://middleware1:9092,TESTS://127.0.0.1:19092
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TESTS:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=/var/lib/kafka
num.partitions=3
auto.create.topics.enable=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=30000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
PROPERTIES
cat >"$tree/etc/kafka/log4j.properties" <<'PROPERTIES'
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%p %m (%c)%n
PROPERTIES
cat >"$tree/opt/kafka/run" <<'RUN'
#!/bin/sh
exec java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Djava.awt.headless=true \
    -Dlog4j.configuration=file:/etc/kafka/log4j.properties -cp '/opt/kafka/libs/*' "$@"
RUN
chmod 755 "$tree/opt/kafka/run"
cat >"$tree/etc/systemd/system/kafka.service" <<'UNIT'
[Unit]
Description=Apache Kafka, one node
After=network.target

[Service]
ExecStart=/opt/kafka/run kafka.Kafka /etc/kafka/server.properties
SuccessExitStatus=143
LimitNOFILE=65536
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
UNIT
cat >"$tree/etc/systemd/system/etcd.service" <<'UNIT'
[Unit]
Description=Etcd, one member
After=network.target

[Service]
Type=notify
Environment=PATH=/usr/local/bin:/usr/bin
ExecStart=/usr/bin/env etcd --name=one --data-dir=/var/lib/etcd-one --listen-client-urls=http://0.0.0.0:2379 \
    --advertise-client-urls=http://middleware1:2379 --enable-v2=true --log-level=warn
LimitNOFILE=65536
TimeoutStartSec=120

[Install]
WantedBy=multi-user.target
UNIT
chroot "$tree" /opt/kafka/run kafka.tools.StorageTool format -t AAAAAAAAQACAAAAAAAAAAA -c /etc/kafka/server.properties
chroot "$tree" systemctl -q enable kafka etcd
