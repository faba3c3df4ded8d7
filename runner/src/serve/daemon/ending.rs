//! A job from its process to its answer: deadlines, ends, digests, the report.

use super::*;

impl Daemon {
    pub(super) fn watch(&mut self, id: JobId, now: Instant) -> Result<(), Error> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Ok(());
        };
        let Stage::Running(running) = &mut job.stage else {
            return Ok(());
        };
        let Some(process) = self.processes.get(&running.process) else {
            return Ok(());
        };
        let cpu_used = sys::cpu_time_of(process.pid)?;
        match running.deadlines.judge(now, cpu_used) {
            Ok(sleep) => {
                job.alarm = Some(self.poller.set(now + sleep, Alarm::Watch(id)));
            }
            Err(stopped) => {
                running.stopped = Some(stopped);
                kill(process);
            }
        }
        Ok(())
    }

    /// The client takes its request back, or has gone.
    pub(super) fn cancel(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.cancelled = true;
        let process = match &job.stage {
            Stage::Queued => {
                self.admission.give_up(id);
                return self.finish(id, Err(cancelled()));
            }
            Stage::Starting => {
                self.nursery.forget(id);
                return self.finish(id, Err(cancelled()));
            }
            Stage::Running(running) => running.process,
            Stage::Digesting(_, helper, _) => *helper,
        };
        self.kill_process(process);
    }

    pub(super) fn kill_process(&self, id: ProcessId) {
        if let Some(process) = self.processes.get(&id) {
            kill(process);
        }
    }

    pub(super) fn process_ended(&mut self, id: ProcessId) -> Result<(), Error> {
        let Some(process) = self.processes.remove(&id) else {
            return Ok(());
        };
        self.poller.remove(&process.pidfd);
        let ended = sys::wait(process.pid)?;
        let now = Instant::now();
        match process.role {
            Role::Nursling => {
                for job in self.nursery.ended(id, now) {
                    self.ask(job, now);
                }
                self.reap_unknown();
            }
            Role::Vm(job) => self.vm_ended(job, process.pid, ended),
            Role::Helper(job) => self.digested(job, ended),
        }
        Ok(())
    }

    pub(super) fn vm_ended(&mut self, id: JobId, pid: Pid, ended: sys::Ended) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm.take() {
            self.poller.unset(alarm);
        }
        let stage = std::mem::replace(&mut job.stage, Stage::Starting);
        let Stage::Running(running) = stage else {
            return;
        };
        if job.cancelled {
            return self.finish(id, Err(cancelled()));
        }
        let wall = running.started.elapsed();
        let outcome =
            session::conclude(&job.manifest, ended, running.stopped, &running.ledger);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.finish(id, Err(error)),
        };
        let queued = job.admitted.duration_since(job.arrived);
        let pid = pid.as_raw_nonzero().get();
        let finished = Box::new(Finished {
            ending: Ending {
                outcome,
                wall,
                cpu: ended.cpu,
            },
            account: Account::new(pid, &ended, queued, &running.ledger),
            ledger: running.ledger,
            outputs: running.outputs,
        });
        self.digest(id, finished);
    }

    pub(super) fn digest(&mut self, id: JobId, finished: Box<Finished>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let begun = match finished.ending.is_complete() {
            true => digesting::begin(&finished.outputs, &job.manifest),
            false => Ok(Digesting::Done(Vec::new())),
        };
        match begun {
            Ok(Digesting::Done(digests)) => self.report(id, *finished, &digests),
            Ok(Digesting::Helper(pid, results)) => {
                match self.add_process(pid, Role::Helper(id)) {
                    Ok(process) => {
                        if let Some(job) = self.jobs.get_mut(&id) {
                            job.stage = Stage::Digesting(finished, process, results);
                        }
                    }
                    Err(error) => self.finish(id, Err(error)),
                }
            }
            Err(error) => self.finish(id, Err(error)),
        }
    }

    pub(super) fn digested(&mut self, id: JobId, ended: sys::Ended) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut job.stage, Stage::Starting);
        let Stage::Digesting(finished, _, results) = stage else {
            return;
        };
        if job.cancelled {
            return self.finish(id, Err(cancelled()));
        }
        if ended.status != Some(0) {
            let why = format!("status {:?}, signal {:?}", ended.status, ended.signal);
            return self.finish(id, Err(Error::failure("hash the outputs", why)));
        }
        self.report(id, *finished, &results.load());
    }

    pub(super) fn report(
        &mut self,
        id: JobId,
        finished: Finished,
        digests: &[Option<outputs::Digests>],
    ) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Finished {
            ending,
            ledger,
            outputs,
            account,
        } = finished;
        let document = session::report(&job.manifest, &ledger, ending, &outputs, digests)
            .and_then(|report| answer(&report, &account));
        self.finish(id, document);
        self.leftovers.push(Box::new((ledger, outputs)));
    }

    /// The last step of every job: its answer, its slot to the next.
    pub(super) fn finish(&mut self, id: JobId, result: Result<Vec<u8>, Error>) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        if let Some(alarm) = job.alarm {
            self.poller.unset(alarm);
        }
        let document = result.unwrap_or_else(|error| {
            if let Error::Failure(message) = &error {
                let job = session::title(&job.manifest);
                eprintln!("event=vm_failed vm={job:?} error={:?}", message.as_str());
            }
            error.document().into_bytes()
        });
        if let Some(connection) = self.connections.get_mut(&job.connection) {
            connection.jobs.remove(&job.request);
        }
        self.send(job.connection, b'R', job.request, &document);
        if !matches!(job.stage, Stage::Queued)
            && let Some(next) = self.admission.leave()
        {
            self.start(next, Instant::now());
        }
    }
}

fn cancelled() -> Error {
    Error::refused(Code::Cancelled, "the request was taken back")
}
