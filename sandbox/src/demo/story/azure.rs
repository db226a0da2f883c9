//! What Azure does, in words.

use super::Story;
use crate::azure::Event;
use crate::referee::AzureFact;

impl Story {
    pub(super) fn of_azure(&mut self, fact: &AzureFact) -> String {
        match fact {
            AzureFact::Announced { event, nodes, .. } => {
                let what = format!("the {} of {}", event.event_type, self.names(nodes));
                self.events.insert(event.event_id.clone(), what.clone());
                format!("announces {what}: {}", details(event))
            }
            AzureFact::Moved { event, not_before } => {
                format!("moves {}: not before {not_before}", self.event(event))
            }
            AzureFact::Started { event } => format!("begins {}", self.event(event)),
            AzureFact::Removed { event } => format!("no longer shows {}", self.event(event)),
            AzureFact::PoweredOff { node } => {
                format!(
                    "takes the VM of {} away: everything on it dies, its metadata service is silent",
                    self.name(node)
                )
            }
            AzureFact::PoweredOn { node } => format!("boots the VM of {}: a new boot id", self.name(node)),
            AzureFact::Replaced { node } => format!("puts another VM behind {}", self.name(node)),
        }
    }

    fn event(&self, id: &str) -> String {
        self.events.get(id).cloned().unwrap_or_else(|| format!("the event {id}"))
    }
}

fn details(event: &Event) -> String {
    let mut details = Vec::new();
    if event.event_status == "Started" {
        details.push("it has begun".to_owned());
    } else {
        // The day says nothing in a story of minutes.
        let time = event.not_before.split(' ').nth(4).unwrap_or(&event.not_before);
        details.push(format!("not before {time}"));
    }
    match event.duration_in_seconds {
        ..0 => {}
        0 => details.push("without interruption".to_owned()),
        seconds => details.push(format!("for {seconds} s")),
    }
    if !event.description.is_empty() {
        details.push(format!("“{}”", event.description));
    }
    details.join(", ")
}
