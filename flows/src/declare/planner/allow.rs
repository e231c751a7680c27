//! `lint: { allow: [ZF012] }` of a flow: rules of the linter that it does not want to hear of.

use serde_saphyr::Spanned;

use super::Planner;
use super::page::near;
use crate::declare::document::Tree;
use crate::lint::Rule;

impl Planner<'_> {
    /// Checks that there is a rule of each id. Who lints reads them from the page.
    pub(super) fn lint(&mut self, tree: &Spanned<Tree>) {
        let entries = self.mapping("lint", tree, Some(&["allow"])).unwrap_or_default();
        for (_, list) in entries.iter().filter(|(key, _)| key.value == "allow") {
            let Tree::List(ids) = &list.value else {
                let help = Some("allow: [ZF012]".to_owned());
                self.problem(list.referenced, format!("lint.allow is a list of ids, not {}", list.value.kind()), help);
                continue;
            };
            for id in ids {
                let Some(text) = self.text("lint.allow", id) else { continue };
                if Rule::from_id(text).is_none() {
                    let known = Rule::ALL.map(Rule::id);
                    let help = near(text, &known).or_else(|| Some(format!("its rules are {}", known.join(", "))));
                    self.problem(id.referenced, format!("lint.allow: no rule has the id `{text}`"), help);
                }
            }
        }
    }
}
