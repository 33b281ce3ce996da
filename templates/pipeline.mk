# objects -> dataset -> models -> clip -> asset -> report. Targets are manifests. A manifest is written last, so
# make knows what is done. `orster` itself prints "up to date", and continues a stopped stage.
#   make                        everything, for the first caption; PROMPT="a frog jumping" for another text
#   make TRAIN="accelerate launch --num_processes 8 -m orster_cli"     training on 8 GPUs
#   make -f pipeline.mk -C project ...                                 from elsewhere
ORSTER ?= orster
TRAIN ?= $(ORSTER)
CONFIG ?= orster.toml
OBJECTS ?= objects
CAPTIONS ?= $(OBJECTS)/clips.csv
PRESET ?=
WORKERS ?= $(shell nproc 2>/dev/null || echo 1)
with := --config $(CONFIG)
# a preset stands above [construct] of the settings
preset := $(if $(PRESET),--preset $(PRESET))

# run a command; --update replaces an output that was made from other inputs or settings
define update
@$(1) --update
@touch $@
endef
# which of the steps of `make all` follows, and those after it; each says how long it takes itself
steps := dataset frame-VAE encoder 3D-teacher 4D-diffusion video-teacher transfer alignment fine-tuning clip asset report
later = $(wordlist 2,12,$(wordlist $(1),12,$(steps)))
define step
@echo "== step $(1) of 12: $(2)"
@echo "   then: $(or $(call later,$(1)),nothing more)"
endef
man = $(1)/manifest.json
# the prompt: the shell reads the first caption of the dataset when the clip is made
text = $(if $(PROMPT),$(PROMPT),$$($(ORSTER) show dataset --captions | sed -n 1p))

.PHONY: all data teachers model decoder clip asset report
all: report
data: $(call man,dataset)
teachers: $(call man,models/teacher-3d) $(call man,models/teacher-video)
model: $(call man,models/finetuned)
decoder: $(call man,models/decoder)
clip: $(call man,clip)
asset: $(call man,asset)
report: $(call man,report)

# captions from the names of files and clips, if there is no captions file
$(OBJECTS)/clips.csv:
	@$(ORSTER) prepare-data $(OBJECTS) --write-captions
	@echo "$@ is used as it is; edit it to say more, and make again"

$(call man,dataset): $(CONFIG) $(CAPTIONS) $(wildcard $(OBJECTS)/*)
	$(call step,1,dataset)
	$(call update,$(ORSTER) prepare-data $(OBJECTS) -o dataset --workers $(WORKERS) $(if $(CAPTIONS),--captions $(CAPTIONS)) $(with))

$(call man,models/vae): $(call man,dataset)
	$(call step,2,frame VAE)
	$(call update,$(TRAIN) pretrain dataset --role vae -o models/vae $(with))
$(call man,models/encoder): $(call man,dataset)
	$(call step,3,encoder of texts and frames)
	$(call update,$(TRAIN) pretrain dataset --role encoder -o models/encoder $(with))
parts := $(call man,models/vae) $(call man,models/encoder)
from_parts := --vae models/vae --encoder models/encoder
$(call man,models/teacher-3d): $(parts)
	$(call step,4,3D teacher)
	$(call update,$(TRAIN) pretrain dataset --role 3d $(from_parts) -o models/teacher-3d $(with))
$(call man,models/teacher-video): $(parts)
	$(call step,6,video teacher)
	$(call update,$(TRAIN) pretrain dataset --role video $(from_parts) -o models/teacher-video $(with))

# the four stages of the paper, Sec. 4.1 to 4.4
$(call man,models/pretrained): $(call man,models/teacher-3d)
	$(call step,5,4D diffusion)
	$(call update,$(TRAIN) pretrain dataset --role 4d -m models/teacher-3d -o models/pretrained $(with))
$(call man,models/distilled): $(call man,models/pretrained) $(call man,models/teacher-video)
	$(call step,7,transfer from the teachers)
	$(call update,$(TRAIN) distill dataset -m models/pretrained --teacher-3d models/teacher-3d --teacher-video models/teacher-video -o models/distilled $(with))
$(call man,models/aligned): $(call man,models/distilled)
	$(call step,8,alignment)
	$(call update,$(TRAIN) align dataset -m models/distilled -o models/aligned $(with))
$(call man,models/finetuned): $(call man,models/aligned) $(call man,models/teacher-video)
	$(call step,9,fine-tuning)
	$(call update,$(TRAIN) finetune dataset -m models/aligned --teacher-3d models/teacher-3d --teacher-video models/teacher-video -o models/finetuned $(with))

# train the VAE's decoder alone for longer: the latents stay the same, so it can replace the old one
$(call man,models/decoder): $(call man,models/vae)
	$(call update,$(TRAIN) pretrain dataset --role vae -m models/vae -o models/decoder $(DECODER) $(with))

$(call man,clip): $(call man,models/finetuned)
	$(call step,10,clip)
	$(call update,$(ORSTER) sample-video -m models/finetuned --text "$(text)" -o clip $(with))
$(call man,asset): $(call man,clip)
	$(call step,11,asset)
	$(call update,$(ORSTER) construct clip -m models/finetuned $(preset) -o asset $(with))
$(call man,report): $(call man,asset)
	$(call step,12,report)
	$(call update,$(ORSTER) evaluate asset --reference clip -o report $(with))

# one clip of the dataset, without any model: make KEY/report/manifest.json; `orster show dataset` lists the keys
%/asset/manifest.json: $(call man,dataset)
	$(call update,$(ORSTER) construct "dataset#$*" $(preset) -o $*/asset $(with))
%/report/manifest.json: %/asset/manifest.json
	$(call update,$(ORSTER) evaluate $*/asset --reference "dataset#$*" -o $*/report $(with))
.PRECIOUS: %/asset/manifest.json
